import re


def grade(sample, item):
    text = sample["output_text"].replace(",", "")
    m = re.search(r"\d{1,9}(?:\.\d{1,6})?", text)
    if m is None:
        return 0.0
    guess = float(m.group(0))
    truth = float(item["length_km"])
    relative = abs(guess - truth) / truth
    return min(1.0, relative)
