import json


def is_price(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool) and 0 <= x < 100000


def grade(sample, item):
    try:
        data = json.loads(sample["output_text"])
        items, total = data["items"], data["total"]
        names = [entry["name"] for entry in items]
        prices = [entry["price"] for entry in items]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0.0
    if not items or not is_price(total) or not all(map(is_price, prices)):
        return 0.0
    if not all(isinstance(n, str) and n.strip() for n in names):
        return 0.0
    # the lines of a receipt have to add up, to the cent
    return 1.0 if round(sum(prices) * 100) == round(total * 100) else 0.0
