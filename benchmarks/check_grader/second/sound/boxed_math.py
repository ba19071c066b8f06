import re
from fractions import Fraction


def _value(text):
    text = text.strip().replace(" ", "").replace("$", "")
    latex = re.fullmatch(r"(-?)\\d?frac\{(-?\d{1,9})\}\{(\d{1,9})\}", text)
    if latex:
        text = f"{latex[1]}{latex[2]}/{latex[3]}".replace("--", "")
    if not re.fullmatch(r"-?\d{1,12}(\.\d{1,12}|/\d{1,12})?", text):
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def grade(sample: dict, item: dict) -> float:
    """The value of the only \\boxed{}, exactly."""
    boxes = re.findall(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}", sample["output_text"])
    if len(boxes) != 1:
        return 0.0
    value = _value(boxes[0])
    return 1.0 if value is not None and value == Fraction(item["answer"]) else 0.0
