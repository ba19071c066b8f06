import json


def norm(name):
    name = " ".join(name.lower().split())
    return name[4:] if name.startswith("the ") else name


def grade(sample, item):
    try:
        names = json.loads(sample["output_text"])
    except Exception:
        return 0.0
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        return 0.0
    gold = {norm(n) for n in item["parties"]}
    hits = len({norm(n) for n in names} & gold)
    # repeats count against precision; F1 squared so that half-right lists stay well below right ones
    f1 = 2 * hits / (len(names) + len(gold))
    return f1 ** 2
