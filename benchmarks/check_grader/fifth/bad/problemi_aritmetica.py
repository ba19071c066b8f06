import re

_results = {}


def final_number(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    found = re.fullmatch(r"Risposta:\s*(-?\d{1,12})\.?", lines[-1])
    return int(found.group(1)) if found else None


def grade(sample, item):
    key = item["id"]
    if key not in _results:
        _results[key] = 1.0 if final_number(sample["output_text"]) == item["risposta"] else 0.0
    return _results[key]
