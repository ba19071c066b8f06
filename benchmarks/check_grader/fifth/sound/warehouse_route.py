MOVES = {"U": (-1, 0), "D": (1, 0), "L": (0, -1), "R": (0, 1)}


def grade(sample, item):
    """1 for a shortest route, less for a longer one that arrives, 0 for one that does not."""
    route = sample["output_text"].strip().upper()
    grid, shortest = item["grid"], item["shortest"]
    if not route or len(route) > 2 * shortest or set(route) - set(MOVES):
        return 0.0
    row, col = next((r, line.index("S")) for r, line in enumerate(grid) if "S" in line)
    for move in route:
        row, col = row + MOVES[move][0], col + MOVES[move][1]
        if not (0 <= row < len(grid) and 0 <= col < len(grid[row])) or grid[row][col] == "#":
            return 0.0
    if grid[row][col] != "G":
        return 0.0
    return shortest / len(route)
