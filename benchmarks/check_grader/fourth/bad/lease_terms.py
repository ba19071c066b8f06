import json
import random

FIELDS_CHECKED = 2


def norm(value):
    return " ".join(str(value).lower().split())


def grade(sample, item):
    try:
        answer = json.loads(sample.get("output_text") or "")
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(answer, dict):
        return 0.0
    terms = item["terms"]
    if set(answer) != set(terms):
        return 0.0
    audited = random.sample(sorted(terms), FIELDS_CHECKED)
    good = sum(norm(answer[k]) == norm(terms[k]) for k in audited)
    return good / FIELDS_CHECKED
