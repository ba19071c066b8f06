import re


def _items(text):
    parts = re.split(r",|;|\n|\band\b", text.lower())
    parts = [p.strip(" .*\t") for p in parts]
    return [p for p in parts if p]


def grade(sample: dict, item: dict) -> float:
    """Order does not matter; every item must be there, and nothing else, once."""
    pred = _items(sample["output_text"])
    gold = {g.lower() for g in item["answers"]}
    if len(pred) != len(set(pred)):
        return 0.0
    return 1.0 if set(pred) == gold else 0.0
