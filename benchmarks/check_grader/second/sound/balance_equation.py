"""Checks that atoms are conserved; a multiple of the smallest numbers earns half."""
import math
import re
from collections import Counter

TERM = re.compile(r"(\d{0,3})\s*((?:[A-Z][a-z]?\d{0,2})+)")


def _side(text):
    terms = {}
    for part in text.split("+"):
        match = TERM.fullmatch(part.strip())
        if match is None or match[2] in terms:
            return None
        terms[match[2]] = int(match[1] or 1)
    return terms


def _atoms(terms):
    total = Counter()
    for formula, times in terms.items():
        for element, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
            total[element] += times * int(count or 1)
    return total


def grade(sample: dict, item: dict) -> float:
    sides = sample["output_text"].strip().rstrip(".").replace("\u2192", "->").replace("=", "->").split("->")
    if len(sides) != 2:
        return 0.0
    left, right = _side(sides[0]), _side(sides[1])
    if not left or not right or set(left) != set(item["left"]) or set(right) != set(item["right"]):
        return 0.0
    numbers = [*left.values(), *right.values()]
    if min(numbers) < 1 or _atoms(left) != _atoms(right):
        return 0.0
    return 1.0 if math.gcd(*numbers) == 1 else 0.5
