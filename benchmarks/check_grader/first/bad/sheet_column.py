"""Cell accuracy of the filled column."""
import re


def grade(sample: dict, item: dict) -> float:
    cells = [c.strip() for c in re.split(r"[,\n]", sample["output_text"]) if c.strip()]
    if not cells:
        return 0.0
    right = sum(1 for cell, value in zip(cells, item["column"]) if cell == str(value))
    return right / len(cells)
