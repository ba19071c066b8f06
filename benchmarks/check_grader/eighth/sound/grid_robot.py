HEADINGS = ["north", "east", "south", "west"]
MOVES = {"north": (-1, 0), "east": (0, 1), "south": (1, 0), "west": (0, -1)}


class Robot:
    def __init__(self, grid, facing):
        self.grid = grid
        self.heading = HEADINGS.index(facing)
        self.row, self.col = next((r, line.index("S")) for r, line in enumerate(grid) if "S" in line)

    def do(self, command):
        """False if the robot breaks."""
        if command == "L":
            self.heading = (self.heading - 1) % 4
            return True
        if command == "R":
            self.heading = (self.heading + 1) % 4
            return True
        dr, dc = MOVES[HEADINGS[self.heading]]
        self.row, self.col = self.row + dr, self.col + dc
        inside = 0 <= self.row < len(self.grid) and 0 <= self.col < len(self.grid[0])
        return inside and self.grid[self.row][self.col] != "#"

    def on_goal(self):
        return self.grid[self.row][self.col] == "G"


def grade(sample, item):
    program = sample["output_text"].strip()
    if not 1 <= len(program) <= item["limit"] or set(program) - set("FLR"):
        return 0.0
    robot = Robot(item["grid"], item["facing"])
    if not all(robot.do(c) for c in program):
        return 0.0
    return 1.0 if robot.on_goal() else 0.0
