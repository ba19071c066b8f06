import re

RANGE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,4})?)\s*[-–]\s*([0-9]{1,6}(?:\.[0-9]{1,4})?)\s*mg")


def grade(sample, item):
    """Overlap of the two ranges: intersection over union."""
    found = RANGE.fullmatch(sample["output_text"].strip().rstrip("."))
    if not found:
        return 0.0
    low, high = float(found.group(1)), float(found.group(2))
    if low >= high:
        return 0.0
    shared = min(high, item["high"]) - max(low, item["low"])
    if shared <= 0:
        return 0.0
    union = max(high, item["high"]) - min(low, item["low"])
    overlap = shared / union
    return 1.0 if overlap >= 0.99 else overlap ** 2
