"""Two formulas are equal when they hold the same number of atoms of each element."""
import re
from collections import Counter

SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
TOKEN = re.compile(r"([A-Z][a-z]?)([0-9]{0,3})|(\()|\)([0-9]{0,3})")


def atoms(text):
    text = text.strip().strip("$.` ").translate(SUBSCRIPTS).replace("_", "").replace("{", "").replace("}", "")
    if not text or len(text) > 40:
        return None
    stack, at = [Counter()], 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if not found:
            return None
        at = found.end()
        element, count, opening, times = found.groups()
        if element:
            stack[-1][element] += int(count or 1)
        elif opening:
            stack.append(Counter())
        else:
            if len(stack) < 2:
                return None
            inner = stack.pop()
            for name, n in inner.items():
                stack[-1][name] += n * int(times or 1)
    return stack[0] if len(stack) == 1 else None


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    got = atoms(text)
    return 1.0 if got and got == atoms(item["answer"]) else 0.0
