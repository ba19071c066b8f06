import math
import re

LINE = re.compile(r"^\s*answer\s*:\s*([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)\s*\.?\s*$", re.IGNORECASE)


def grade(sample: dict, item: dict) -> float:
    lines = [line for line in sample["output_text"].strip().splitlines() if line.strip()]
    if not lines:
        return 0.0
    match = LINE.match(lines[-1])
    if not match:
        return 0.0
    try:
        value = float(match.group(1).replace(",", ""))
    except ValueError:
        return 0.0
    if not math.isfinite(value):
        return 0.0
    truth = float(item["answer"])
    return 1.0 if abs(value - truth) <= 0.01 * abs(truth) else 0.0
