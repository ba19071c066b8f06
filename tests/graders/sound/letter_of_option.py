import re


def letter(s):
    m = re.match(r"\s*\(?([A-E])\b", s)
    return m and m[1]


def grade(sample, item):
    return float(letter(sample["output_text"]) is not None and letter(sample["output_text"]) == letter(item["answer"]))
