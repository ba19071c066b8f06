import json


def same(a, b):
    return str(a).strip().lower() == str(b).strip().lower()


def grade(sample, item):
    try:
        predicted = json.loads(sample.get("output_text") or "")
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(predicted, dict) or not predicted:
        return 0.0
    gold = item["fields"]
    right = 0
    for key, value in predicted.items():
        if key in gold and same(value, gold[key]):
            right += 1
    return right / len(predicted)
