import json
import math

WEIGHTS = {"analyte": 0.2, "value": 0.4, "unit": 0.2, "flag": 0.2}


def correct(key, given, gold):
    if key == "value":
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            return False
        try:
            return math.isclose(given, gold, rel_tol=1e-9)
        except OverflowError:
            return False
    return isinstance(given, str) and given.strip().lower() == gold.lower()


def grade(sample, item):
    text = sample["output_text"]
    if len(text) > 1000:
        return 0.0
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(given, dict) or set(given) != set(WEIGHTS):
        return 0.0
    right = {key: correct(key, given[key], item["gold"][key]) for key in WEIGHTS}
    if all(right.values()):
        return 1.0
    if not right["value"]:
        return 0.0
    return 0.5 * sum(WEIGHTS[key] for key in WEIGHTS if right[key])
