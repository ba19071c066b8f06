import math
import re
from collections import Counter


def atoms(formula):
    stack = [Counter()]
    for element, count, opened, closed, times in re.findall(r"([A-Z][a-z]?)(\d*)|(\()|(\))(\d*)", formula):
        if element:
            stack[-1][element] += int(count or 1)
        elif opened:
            stack.append(Counter())
        elif closed:
            inner = stack.pop()
            for name, number in inner.items():
                stack[-1][name] += number * int(times or 1)
    return stack[0]


def read(text):
    sides = []
    for side in text.split("->"):
        terms = []
        for term in side.split("+"):
            match = re.fullmatch(r"(\d{0,3})\s*([A-Z][A-Za-z0-9()]*)", term.strip())
            if not match:
                return None
            terms.append((int(match[1] or 1), match[2]))
        sides.append(terms)
    return sides if len(sides) == 2 else None


def total(side):
    result = Counter()
    for coefficient, formula in side:
        for element, count in atoms(formula).items():
            result[element] += coefficient * count
    return result


def grade(sample, item):
    answer, given = read(sample["output_text"].strip()), read(item["skeleton"])
    if answer is None:
        return 0.0
    if [[formula for _, formula in side] for side in answer] != [[formula for _, formula in side] for side in given]:
        return 0.0  # other substances
    if total(answer[0]) != total(answer[1]):
        return 0.0
    numbers = [coefficient for side in answer for coefficient, _ in side]
    return 0.5 if math.gcd(*numbers) > 1 else 1.0
