import re
from collections import Counter
from math import gcd

TERM = re.compile(r"(?:([1-9]\d{0,2}) ?)?([A-Z(][A-Za-z0-9()]{0,29})", re.ASCII)


def atoms(formula):
    stack = [Counter()]
    for element, count, opening, closing, times in re.findall(
            r"([A-Z][a-z]?)(\d*)|(\()|(\))(\d*)", formula):
        if opening:
            stack.append(Counter())
        elif closing:
            group = stack.pop()
            for e, n in group.items():
                stack[-1][e] += n * int(times or 1)
        else:
            stack[-1][element] += int(count or 1)
    return stack[0]


def read_side(text, species):
    amounts = {}
    for part in text.split("+"):
        match = TERM.fullmatch(part.strip())
        if match is None or match.group(2) not in species or match.group(2) in amounts:
            return None
        amounts[match.group(2)] = int(match.group(1) or 1)
    return amounts if set(amounts) == set(species) else None


def total(amounts):
    sums = Counter()
    for formula, n in amounts.items():
        for element, count in atoms(formula).items():
            sums[element] += n * count
    return sums


def grade(sample, item):
    sides = sample["output_text"].strip().replace("→", "->").split("->")
    if len(sides) != 2:
        return 0.0
    left = read_side(sides[0], item["left"])
    right = read_side(sides[1], item["right"])
    if left is None or right is None or total(left) != total(right):
        return 0.0
    if gcd(*left.values(), *right.values()) != 1:
        return 0.5
    return 1.0
