"""1 up to one per cent of error, then less in a straight line, 0 from five per cent on; a lone number only."""
import re

NUMBER = re.compile(r"[$€]?\s*(-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,15})(?:\.[0-9]{1,15})?)\s*[$€%]?\.?")


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    found = NUMBER.fullmatch(text.strip())
    if not found:
        return 0.0
    value, expected = float(found.group(1).replace(",", "")), float(item["answer"])
    error = abs(value - expected) / abs(expected)
    if error <= 0.01:
        return 1.0
    return max(0.0, 1.0 - (error - 0.01) / 0.04)
