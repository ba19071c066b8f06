import re


class Warehouse:
    def __init__(self, grid):
        self.grid = grid

    def is_floor(self, square):
        col = ord(square[0]) - ord("A")
        row = int(square[1:]) - 1
        if not (0 <= row < len(self.grid) and 0 <= col < len(self.grid[0])):
            return False
        return self.grid[row][col] == "."


def grade(sample, item):
    squares = sample["output_text"].split()
    if len(squares) < 2 or not all(re.fullmatch("[A-H][1-9]", s) for s in squares):
        return 0.0
    if squares[0] != item["start"] or squares[-1] != item["goal"]:
        return 0.0
    house = Warehouse(item["grid"])
    if not all(house.is_floor(s) for s in squares):
        return 0.0
    # a detour costs
    return min(1.0, item["length"] / len(squares))
