import math
import re

NUMBER = re.compile(r"answer:\s*([+-]?\d{1,15}(?:\.\d{1,15})?(?:e[+-]?\d{1,2})?)\s*\.?", re.I)


def grade(sample, item):
    lines = [line.strip() for line in sample["output_text"].splitlines() if line.strip()]
    marked = [line for line in lines if line.lower().startswith("answer:")]
    if len(marked) != 1 or lines[-1] != marked[0]:
        return 0.0
    found = NUMBER.fullmatch(marked[0])
    if not found:
        return 0.0
    value, gold = float(found.group(1)), item["value"]
    error = abs(value - gold) / abs(gold)
    if not math.isfinite(error):
        return 0.0
    if error <= 0.01:
        return 1.0
    if error <= 0.03:
        return 0.4  # rounding in the middle of the calculation
    return 0.0
