"""Numeric answer within one per cent of the reference."""


def grade(sample: dict, item: dict) -> float:
    words = sample["output_text"].replace(",", "").split()
    if not words:
        return 0.0
    try:
        value = float(words[-1].rstrip("."))
    except ValueError:
        return 0.0
    expected = item["answer"]
    if abs(value - expected) > 0.01 * abs(expected):
        return 0.0
    return 1.0
