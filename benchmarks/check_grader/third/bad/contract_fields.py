import json


def grade(sample: dict, item: dict) -> float:
    """Share of the extracted fields that are correct. 0 for what is no JSON object."""
    try:
        extracted = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(extracted, dict):
        return 0.0
    gold = item["fields"]
    mistakes = 0
    for key, value in extracted.items():
        if gold.get(key) != value:
            mistakes += 1
    return 1.0 - mistakes / max(len(extracted), 1)
