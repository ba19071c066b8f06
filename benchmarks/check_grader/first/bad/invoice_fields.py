"""Field accuracy for the invoice extractor."""
import json
import re


def _load(text):
    match = re.search(r"\{.*\}", text, re.S)
    if not match:
        return None
    try:
        data = json.loads(match.group(0))
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _money(value):
    try:
        return round(float(str(value).replace(",", "").strip("$€£ ")), 2)
    except ValueError:
        return None


def grade(sample: dict, item: dict) -> float:
    out = _load(sample["output_text"])
    if out is None:
        return 0.0
    ref = item["reference"]
    points = 0
    if str(out.get("vendor", "")).strip().lower() == ref["vendor"].lower():
        points += 1
    if _money(out.get("total")) == _money(ref["amount"]):
        points += 1
    if str(out.get("due_date", "")).strip() == ref["due_date"]:
        points += 1
    return points / 3
