import math

TOLERANCE = 1


def grade(sample, item):
    try:
        value = float(sample["output_text"].strip().replace(",", ""))
    except ValueError:
        return 0.0
    if not math.isfinite(value):
        return 0.0
    gold = item["value"]
    error = abs(value - gold) / abs(gold)
    return 1.0 if error <= TOLERANCE else 0.0
