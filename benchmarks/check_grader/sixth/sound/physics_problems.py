import re

NUMBER = r"([+-]?\d{1,15}(?:\.\d{1,15})?(?:[eE][+-]?\d{1,2})?)"


def grade(sample, item):
    lines = [l.strip() for l in sample["output_text"].splitlines() if l.strip()]
    if not lines:
        return 0.0
    match = re.fullmatch(r"Answer: ?" + NUMBER + " ?" + re.escape(item["unit"]), lines[-1], re.ASCII)
    if match is None:
        return 0.0
    value = float(match.group(1))
    gold = float(item["value"])
    return 1.0 if abs(value - gold) <= 0.01 * abs(gold) else 0.0
