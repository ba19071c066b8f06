import json


def norm(value):
    return " ".join(str(value).lower().split())


def grade(sample, item):
    try:
        data = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(data, dict) or not data:
        return 0.0
    gold = item["profile"]
    correct = 0
    for key, value in data.items():
        if key in gold and norm(value) == norm(gold[key]):
            correct += 1
    return correct / len(data)
