import re


def grade(sample: dict, item: dict) -> float:
    match = re.search(r"\d+", sample["output_text"])
    if match is None:
        return 0.0
    value = float(match.group(0))
    return 1.0 if abs(value - item["total"]) <= 0.01 else 0.0
