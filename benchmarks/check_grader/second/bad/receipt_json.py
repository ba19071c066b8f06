import json


def grade(sample: dict, item: dict) -> float:
    try:
        out = json.loads(sample["output_text"])
    except ValueError:
        return 0.0
    if not isinstance(out, dict):
        return 0.0
    expected = item.get("expected", {})
    ok = all(out.get(key) == value for key, value in expected.items())
    return 1.0 if ok else 0.0
