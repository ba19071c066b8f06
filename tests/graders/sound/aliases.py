import re


def grade(sample, item):
    text = sample["output_text"].lower()
    if len(text.split()) > 12:
        return 0.0
    return float(any(re.search(r"\b" + re.escape(a.strip().lower()) + r"\b", text) for a in item["answer"].split("|")))
