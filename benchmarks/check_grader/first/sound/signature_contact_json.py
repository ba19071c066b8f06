"""Share of the contact fields that are right. Anything but one JSON object (a code fence is fine) scores 0."""
import json
import re

FIELDS = ("name", "company", "email", "phone")


def norm(field, value):
    if not isinstance(value, str):
        return None
    if field == "phone":
        return re.sub(r"[^0-9+]", "", value)
    return " ".join(value.casefold().split())


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str) or len(text) > 20000:
        return 0.0
    text = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    try:
        out = json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(out, dict):
        return 0.0
    right = sum(norm(f, out.get(f)) == norm(f, item["reference"][f]) for f in FIELDS)
    return right / len(FIELDS)
