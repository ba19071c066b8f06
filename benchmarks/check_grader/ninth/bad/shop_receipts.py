import re

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def grade(sample, item):
    match = NUMBER.search(sample["output_text"])
    if not match:
        return 0.0
    value = float(match.group())
    return 1.0 if abs(value - item["total"]) < 0.005 else 0.0
