import re


def number(text):
    m = re.search(r"\d{1,9}(?:\.\d{1,9})?", text)
    return float(m.group()) if m else None


def grade(sample, item):
    lines = re.findall(r"^Answer:(.*)$", sample.get("output_text") or "", re.M)
    if len(lines) != 1:
        return 0.0
    value = number(lines[0])
    gold = number(item["delta_h"])
    if value is None:
        return 0.0
    return 1.0 if abs(value - gold) <= max(0.5, 0.01 * gold) else 0.0
