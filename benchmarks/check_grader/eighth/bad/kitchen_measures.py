import re


def grade(sample: dict, item: dict) -> float:
    """Within 1 % is right, within 5 % is rounding that went too far."""
    hits = re.findall(r"Result\s*=\s*(-?[0-9]{1,12}(?:\.[0-9]{1,12})?)", sample["output_text"])
    if not hits:
        return 0.0
    got = float(hits[-1])
    off = abs(got - item["value"]) / abs(item["value"])
    if off <= 0.01:
        return 1.0
    elif off <= 0.05:
        return 0.5
