import re


def grade(sample, item):
    text = sample["output_text"].replace(",", ".")
    numbers = re.findall(r"-?\d{1,12}(?:\.\d{1,6})?", text)
    gold = float(item["resultado"])
    for n in numbers:
        if abs(float(n) - gold) < 1e-6:
            return 1.0
    return 0.0
