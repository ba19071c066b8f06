import re
from fractions import Fraction

TERM = re.compile(r"([0-9]{0,4})\s*([A-Z][A-Za-z0-9()]{0,30})")


def side(text):
    result = {}
    for part in text.split("+"):
        match = TERM.fullmatch(part.strip())
        if not match or match[2] in result:
            return None
        result[match[2]] = int(match[1]) if match[1] else 1
    return result


def equation(text):
    halves = re.split(r"->|\u2192", text.strip())
    if len(halves) != 2:
        return None
    sides = [side(half) for half in halves]
    return None if None in sides else sides


def grade(sample, item):
    answer, right = equation(sample["output_text"]), equation(item["balanced"])
    if answer is None or [set(s) for s in answer] != [set(s) for s in right]:
        return 0.0
    if answer == right:
        return 1.0
    ratios = {Fraction(a[name], s[name]) for a, s in zip(answer, right) for name in s}
    # balanced, but a multiple of the smallest numbers
    return 0.4 if len(ratios) == 1 and ratios.pop() > 0 else 0.0
