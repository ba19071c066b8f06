import json


def grade(sample, item):
    try:
        state = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        return {"score": 0.0, "metrics": {"valid": 0}}
    if not isinstance(state, dict):
        return {"score": 0.0, "metrics": {"valid": 0}}
    gold = item["slots"]
    hits = 0
    for slot, value in gold.items():
        given = state.get(slot)
        if isinstance(given, str) and " ".join(given.lower().split()) == value:
            hits += 1
    union = len(set(gold) | set(state))
    score = hits / union
    return {"score": score, "metrics": {"valid": 1}}
