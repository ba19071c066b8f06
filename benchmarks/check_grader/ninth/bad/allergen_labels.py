import json


def grade(sample, item):
    try:
        named = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(named, list):
        return 0.0
    named = {str(n).strip().lower() for n in named}
    wanted = set(item["allergens"])
    return len(wanted & named) / len(wanted)
