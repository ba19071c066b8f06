import json


def grade(sample, item):
    try:
        chosen = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        return 0.0
    goods = item["goods"]
    if not isinstance(chosen, list) or not all(isinstance(c, str) and c in goods for c in chosen):
        return 0.0
    if len(set(chosen)) != len(chosen):
        return 0.0
    weight = sum(goods[c][0] for c in chosen)
    value = sum(goods[c][1] for c in chosen)
    if weight > item["capacity"]:
        return 0.0
    share = value / item["best_value"]
    if share >= 1.0:
        return 1.0
    return 0.6 * max(0.0, 2 * share - 1)
