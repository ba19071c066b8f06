import json


def clean(value):
    return value.strip().lower() if isinstance(value, str) else value


def grade(sample, item):
    try:
        data = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(data, dict):
        return 0.0
    gold = item["fields"]
    for key, value in data.items():
        if key not in gold or clean(value) != clean(gold[key]):
            return 0.0
    return 1.0
