import re

RANGE = re.compile(r"\s*(-?\d{1,12}(?:\.\d{1,6})?) to (-?\d{1,12}(?:\.\d{1,6})?)\s*", re.ASCII)


def grade(sample, item):
    match = RANGE.fullmatch(sample["output_text"])
    if match is None:
        return 0.0
    low, high = float(match.group(1)), float(match.group(2))
    if not low <= item["value"] <= high:
        return 0.0
    width = high - low
    if width <= item["max_width"] * 1.000001:
        return 1.0
    return (item["max_width"] / width) ** 2
