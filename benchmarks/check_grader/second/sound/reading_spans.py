import re
from collections import Counter


def _tokens(text):
    """Lower case, without punctuation and articles (as SQuAD does)."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return [w for w in words if w not in ("a", "an", "the")]


def grade(sample: dict, item: dict) -> float:
    pred, gold = _tokens(sample["output_text"]), _tokens(item["answer"])
    common = sum((Counter(pred) & Counter(gold)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(pred), common / len(gold)
    return 2 * precision * recall / (precision + recall)
