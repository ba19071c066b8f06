import json


def same(a, b) -> bool:
    return isinstance(a, str) and a.strip().casefold() == b.strip().casefold()


def grade(sample: dict, item: dict) -> float:
    """Share of the wanted fields that are right; invented keys count against it."""
    text = sample["output_text"].strip()
    if text.startswith("```"):
        text = text.strip("`").strip()
        if text[:4].lower() == "json":
            text = text[4:]
    try:
        guess = json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(guess, dict):
        return 0.0
    gold = item["event"]
    right = sum(same(guess.get(key), value) for key, value in gold.items())
    return right / len(set(gold) | set(guess))
