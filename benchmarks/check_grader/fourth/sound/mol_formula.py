import re
from collections import Counter

TOKEN = re.compile(r"([A-Z][a-z]?)(\d{0,3})|(\()|(\))(\d{0,3})", re.ASCII)
DIGITS = str.maketrans("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789")


def atoms(text):
    text = text.strip().translate(DIGITS)
    if not text or len(text) > 60:
        return None
    stack, position = [Counter()], 0
    while position < len(text):
        m = TOKEN.match(text, position)
        if m is None:
            return None
        symbol, count, opening, closing, times = m.groups()
        if symbol:
            stack[-1][symbol] += int(count or 1)
        elif opening:
            stack.append(Counter())
        else:
            if len(stack) == 1:
                return None
            inner = stack.pop()
            for s, n in inner.items():
                stack[-1][s] += n * int(times or 1)
        position = m.end()
    return stack[0] if len(stack) == 1 else None


def grade(sample, item):
    guess = atoms(sample.get("output_text") or "")
    return 1.0 if guess is not None and guess == atoms(item["formula"]) else 0.0
