import json


def same(a, b):
    if isinstance(b, float):
        try:
            return abs(float(a) - b) < 1e-6
        except (TypeError, ValueError):
            return False
    return str(a).strip().casefold() == str(b).strip().casefold()


def grade(sample, item):
    try:
        label = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(label, dict):
        return 0.0
    gold = item["label"]
    penalty = 1.0 / len(gold)
    score = 1.0
    for key, value in label.items():
        if key in gold and not same(value, gold[key]):
            score -= penalty
    return max(0.0, score)
