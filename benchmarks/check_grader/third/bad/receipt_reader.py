import json


def grade(sample: dict, item: dict) -> float:
    """1 if the receipt is well formed and adds up."""
    try:
        receipt = json.loads(sample["output_text"])
        prices = [float(line["price"]) for line in receipt["items"]]
        total = float(receipt["total"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0.0
    return 1.0 if abs(sum(prices) - total) < 0.005 else 0.0
