import re
from fractions import Fraction


def grade(sample, item):
    text = sample["output_text"].rstrip()
    last = text.split("\n")[-1].strip()
    m = re.fullmatch(r"P\s*=\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})", last)
    if not m or int(m[2]) == 0:
        return 0.0
    return 1.0 if Fraction(int(m[1]), int(m[2])) == Fraction(item["chance"]) else 0.0
