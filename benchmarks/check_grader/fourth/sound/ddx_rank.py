import re

LINE = re.compile(r"([1-3])[.)]\s+(\S.*)", re.ASCII)
LIMIT = 3


def grade(sample, item):
    lines = [l for l in (sample.get("output_text") or "").splitlines() if l.strip()]
    if not 1 <= len(lines) <= LIMIT:
        return 0.0
    ranked = []
    for position, line in enumerate(lines, 1):
        m = LINE.fullmatch(line.strip())
        if m is None or int(m.group(1)) != position:
            return 0.0
        ranked.append(" ".join(m.group(2).rstrip(".").lower().split()))
    if len(set(ranked)) != len(ranked):
        return 0.0
    gold = item["diagnosis"].lower()
    return 1.0 / (ranked.index(gold) + 1) if gold in ranked else 0.0
