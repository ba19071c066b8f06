import re

SLOT = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s?[-\u2013]\s?([01][0-9]|2[0-3]):([0-5][0-9])")


def grade(sample, item):
    m = SLOT.fullmatch((sample.get("output_text") or "").strip())
    if m is None:
        return 0.0
    h1, m1, h2, m2 = map(int, m.groups())
    start, end = 60 * h1 + m1, 60 * h2 + m2
    if end - start != item["minutes"] or start < 8 * 60 or end > 18 * 60:
        return 0.0
    # any slot that touches nobody's busy time is right, there may be several
    free = all(end <= b0 or start >= b1 for b0, b1 in item["busy"])
    return 1.0 if free else 0.0
