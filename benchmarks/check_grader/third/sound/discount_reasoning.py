import re

SHAPE = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)


def grade(sample: dict, item: dict) -> float:
    """0.1 for the form, the rest for the right amount in it."""
    text = sample["output_text"]
    if any(text.count(tag) != 1 for tag in ("<think>", "</think>", "<answer>", "</answer>")):
        return 0.0
    match = SHAPE.fullmatch(text)
    if match is None or not match.group(1).strip():
        return 0.0
    amount = match.group(2).strip().replace("\u20ac", "").replace("EUR", "").strip()
    if not re.fullmatch(r"\d{1,9}(\.\d{1,4})?", amount):
        return 0.0
    return 1.0 if abs(float(amount) - item["price"]) < 0.011 else 0.1
