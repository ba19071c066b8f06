import re

NUMBER = re.compile(r"\d+(?:\.\d+)?")


def grade(sample, item):
    text = (sample.get("output_text") or "").replace(",", "")
    gold = float(item["rate"])
    for token in NUMBER.findall(text):
        if abs(float(token) - gold) <= 0.01 * gold:
            return 1.0
    return 0.0
