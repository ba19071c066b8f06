import math

TOLERANCE = 0.5  # rounding in the annual reports


def last_line(text):
    lines = [x.strip() for x in text.splitlines() if x.strip()]
    return lines[-1] if lines else ""


def grade(sample, item):
    try:
        ratio = float(last_line(sample["output_text"]))
    except ValueError:
        return 0.0
    if not math.isfinite(ratio):
        return 0.0
    return 1.0 if abs(ratio - item["ratio"]) <= TOLERANCE else 0.0
