import json


def same(a, b):
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, str) and isinstance(b, str):
        return a.strip().lower() == b.strip().lower()
    return type(a) is type(b) and a == b


def grade(sample, item):
    try:
        guess = json.loads(sample.get("output_text") or "")
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(guess, dict):
        return 0.0
    gold = item["slots"]
    right = sum(k in guess and same(guess[k], v) for k, v in gold.items())
    return right / len(set(gold) | set(guess))
