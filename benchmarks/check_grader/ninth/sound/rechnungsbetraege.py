import re

BETRAG = re.compile(r"([0-9]{1,3}(?:\.[0-9]{3}){0,3}|[0-9]{1,9}),([0-9]{2})\s?(?:€|EUR|Euro)?")


def grade(sample, item):
    m = BETRAG.fullmatch((sample.get("output_text") or "").strip())
    if m is None:
        return 0.0
    cent = int(m.group(1).replace(".", "")) * 100 + int(m.group(2))
    # one cent for rounding
    return 1.0 if abs(cent - item["cent"]) <= 1 else 0.0
