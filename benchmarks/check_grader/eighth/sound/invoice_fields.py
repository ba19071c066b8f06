import json
from typing import Any

WEIGHTS = {"number": 0.3, "date": 0.25, "total": 0.3, "currency": 0.15}


def parse_object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def grade(sample: dict, item: dict) -> dict:
    data = parse_object(sample["output_text"])
    truth = item["fields"]
    right = {key: isinstance(data.get(key), str) and data[key].strip() == truth[key] for key in WEIGHTS}
    score = sum(WEIGHTS[key] for key in WEIGHTS if right[key])
    if set(data) - set(WEIGHTS):
        score *= 0.5  # keys nobody asked for
    return {"score": min(1.0, score), "sub_rewards": {k: float(v) for k, v in right.items()}}
