import math


def grade(sample, item):
    """Less for a greater relative error."""
    try:
        given = float(sample["output_text"])
    except ValueError:
        return 0.0
    if not math.isfinite(given):
        return 0.0
    return math.exp(-10 * abs(given - item["speed"]) / abs(item["speed"]))
