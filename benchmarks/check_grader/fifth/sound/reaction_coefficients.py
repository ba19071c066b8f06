import math
import re
from collections import Counter


def atoms(formula):
    stack = [Counter()]
    for element, opening, closing, number in re.findall(r"([A-Z][a-z]?)|(\()|(\))|([0-9]+)", formula):
        if element:
            last = Counter({element: 1})
            stack[-1] += last
        elif opening:
            stack.append(Counter())
        elif closing:
            last = stack.pop()
            stack[-1] += last
        else:
            for symbol, count in last.items():
                stack[-1][symbol] += count * (int(number) - 1)
    return stack[0]


def side(text):
    terms = {}
    for part in text.split("+"):
        found = re.fullmatch(r"\s*(?:([1-9][0-9]{0,2})\s*)?([A-Z(][A-Za-z0-9()]{0,30})\s*", part)
        if not found or found.group(2) in terms:
            return None
        terms[found.group(2)] = int(found.group(1) or 1)
    return terms


def grade(sample, item):
    halves = re.split(r"->|→|=", sample["output_text"].strip())
    if len(halves) != 2 or max(map(len, halves)) > 200:
        return 0.0
    left, right = side(halves[0]), side(halves[1])
    if left is None or right is None:
        return 0.0
    if set(left) != set(item["left"]) or set(right) != set(item["right"]):
        return 0.0
    totals = []
    for terms in (left, right):
        total = Counter()
        for formula, n in terms.items():
            for symbol, count in atoms(formula).items():
                total[symbol] += n * count
        totals.append(total)
    if totals[0] != totals[1]:
        return 0.0
    smallest = math.gcd(*left.values(), *right.values()) == 1
    return 1.0 if smallest else 0.5
