import re

CODE = re.compile(r"H\d{3}", re.ASCII)


def parse(text):
    text = text.strip().rstrip(".")
    if text.lower() == "none":
        return set()
    parts = [p.strip().upper() for p in text.split(",")]
    if not all(CODE.fullmatch(p) for p in parts):
        return None
    return set(parts)


def grade(sample, item):
    predicted = parse(sample.get("output_text") or "")
    gold = set(item["codes"])
    if predicted is None:
        return 0.0
    if not predicted and not gold:
        return 1.0
    hits = len(predicted & gold)
    return 2 * hits / (len(predicted) + len(gold))
