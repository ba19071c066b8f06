import re

STEP = {"U": (-1, 0), "D": (1, 0), "L": (0, -1), "R": (0, 1)}


def find(grid, mark):
    for y, line in enumerate(grid):
        if mark in line:
            return y, line.index(mark)


def grade(sample, item):
    grid = item["map"]
    moves = sample["output_text"].split()
    if not moves or len(moves) > 60:
        return 0.0
    y, x = find(grid, "S")
    for move in moves:
        match = re.fullmatch(r"([UDLR])([1-9])", move)
        if not match:
            return 0.0
        dy, dx = STEP[match[1]]
        y, x = y + dy * int(match[2]), x + dx * int(match[2])
        if not (0 <= y < len(grid) and 0 <= x < len(grid[0])) or grid[y][x] == "#":
            return 0.0  # left the hall or hit a shelf
    return 1.0 if (y, x) == find(grid, "G") else 0.0
