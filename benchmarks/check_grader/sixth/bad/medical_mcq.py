import re


def grade(sample, item):
    text = sample["output_text"].strip().upper()
    match = re.search(r"[ABCD]", text)
    if match is None:
        return 0.0
    return 1.0 if match.group(0) == item["correct"] else 0.0
