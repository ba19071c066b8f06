import re


def grade(sample, item):
    text = sample["output_text"]
    last = re.findall(r"^Final: *(-?\d[\d,]{0,15}(?:\.\d{1,6})?) *$", text, re.M)[-1]
    value = float(last.replace(",", ""))
    gold = float(item["value"])
    if abs(value - gold) <= 0.006:
        return 1.0
    if abs(value - gold) <= 0.01 * abs(gold):
        return 0.5
    return 0.0
