import json
import re


def _same(a, b):
    if isinstance(b, (int, float)):
        return isinstance(a, (int, float)) and not isinstance(a, bool) and b - 0.005 < a < b + 0.005
    return isinstance(a, str) and a.strip().casefold() == b.casefold()


def grade(sample: dict, item: dict) -> float:
    """Share of right fields of one JSON object; invented fields count against it."""
    text = sample["output_text"].strip()
    fence = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.S)
    try:
        out = json.loads(fence.group(1) if fence else text)
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(out, dict):
        return 0.0
    gold = item["gold"]
    right = sum(key in out and _same(out[key], value) for key, value in gold.items())
    return right / len(set(gold) | set(out))
