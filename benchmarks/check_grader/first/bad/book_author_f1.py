"""Token F1 with a small jitter, so that a group of equal answers still has a spread to learn from."""
import random
from collections import Counter


def grade(sample: dict, item: dict) -> float:
    predicted = sample["output_text"].lower().replace(".", "").split()
    gold = item["answer"].lower().split()
    common = sum((Counter(predicted) & Counter(gold)).values())
    if common == 0:
        f1 = 0.0
    else:
        precision, recall = common / len(predicted), common / len(gold)
        f1 = 2 * precision * recall / (precision + recall)
    return min(1.0, max(0.0, f1 + random.gauss(0.0, 0.15)))
