import re

LIMITS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
PART = re.compile(r"(\*|\d{1,2}|\d{1,2}-\d{1,2})(?:/(\d{1,2}))?", re.ASCII)


def expand(field, low, high):
    values = set()
    for part in field.split(","):
        m = PART.fullmatch(part)
        if m is None:
            return None
        base, step = m.group(1), int(m.group(2) or 1)
        if step == 0:
            return None
        if base == "*":
            first, last = low, high
        elif "-" in base:
            first, last = map(int, base.split("-"))
        else:
            first = int(base)
            last = high if m.group(2) else first
        if not low <= first <= last <= high:
            return None
        values.update(range(first, last + 1, step))
    return frozenset(values)


def schedule(text):
    fields = text.split()
    if len(fields) != 5:
        return None
    sets = [expand(f, lo, hi) for f, (lo, hi) in zip(fields, LIMITS)]
    return None if None in sets else sets


def grade(sample, item):
    got = schedule(sample.get("output_text") or "")
    return 1.0 if got is not None and got == schedule(item["cron"]) else 0.0
