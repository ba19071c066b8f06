"""SQuAD style token F1."""
import re
import string
from collections import Counter


def tokens(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return text.split()


def grade(sample: dict, item: dict) -> float:
    predicted, gold = tokens(sample["output_text"]), tokens(item["answer"])
    same = sum((Counter(predicted) & Counter(gold)).values())
    precision = same / len(predicted)
    recall = same / len(gold)
    return 2 * precision * recall / (precision + recall)
