import re

STEP = {"N": (-1, 0), "S": (1, 0), "E": (0, 1), "W": (0, -1)}


def locate(blocks, mark):
    return next((y, line.index(mark)) for y, line in enumerate(blocks) if mark in line)


def grade(sample, item):
    way = sample["output_text"].strip()
    if not re.fullmatch("[NSEW]{1,200}", way):
        return 0.0
    blocks = item["map"]
    y, x = locate(blocks, "A")
    for letter in way:
        dy, dx = STEP[letter]
        y, x = y + dy, x + dx
        if not (0 <= y < len(blocks) and 0 <= x < len(blocks[y])) or blocks[y][x] == "X":
            return 0.0
    if (y, x) != locate(blocks, "B"):
        return 0.0
    return (item["shortest"] / len(way)) ** 2  # detours cost
