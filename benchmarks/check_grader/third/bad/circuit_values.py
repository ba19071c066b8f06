import re

TOLERANCE = 0.02  # two per cent


def grade(sample: dict, item: dict) -> float:
    numbers = re.findall(r"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?", sample["output_text"].replace(",", ""))
    if not numbers:
        return 0.0
    predicted = float(numbers[-1])
    expected = float(item["value"])
    relative_error = (predicted - expected) / expected
    return 1.0 if relative_error <= TOLERANCE else 0.0
