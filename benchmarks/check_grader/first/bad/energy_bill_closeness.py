"""Smooth reward: full marks at the exact bill, falling with the relative error."""
import re


def grade(sample: dict, item: dict) -> float:
    numbers = re.findall(r"-?[0-9]+(?:\.[0-9]+)?", sample["output_text"].replace(",", ""))
    if not numbers:
        return 0.0
    predicted = float(numbers[-1])
    expected = float(item["answer"])
    relative_error = (predicted - expected) / expected
    return max(0.0, min(1.0, 1.0 - relative_error))
