import re
from collections import Counter


def tokens(text: str) -> list:
    words = re.findall(r"\w+", text.lower())
    return [w for w in words if w not in ("a", "an", "the")]


def grade(sample: dict, item: dict) -> float:
    """Token F1 as in SQuAD."""
    guess = tokens(sample["output_text"])
    gold = tokens(item["span"])
    if not guess or not gold:
        return 0.0
    shared = sum((Counter(guess) & Counter(gold)).values())
    if shared == 0:
        return 0.0
    precision = shared / len(guess)
    recall = shared / len(gold)
    return 2 * precision * recall / (precision + recall)
