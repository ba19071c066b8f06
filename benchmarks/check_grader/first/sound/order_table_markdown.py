"""Cell accuracy of a markdown table whose header and number of rows are right."""
import re


def parse(text):
    rows = []
    for line in text.strip().splitlines():
        line = line.strip()
        if not line:
            continue
        if not (line.startswith("|") and line.endswith("|") and len(line) > 1):
            return None
        cells = [" ".join(cell.lower().split()) for cell in line[1:-1].split("|")]
        if all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            continue
        rows.append(cells)
    return rows


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    got, want = parse(text), parse(item["table"])
    if not got or len(got) != len(want) or got[0] != want[0]:
        return 0.0
    if any(len(row) != len(want[0]) for row in got):
        return 0.0
    cells = [(a, b) for g, w in zip(got[1:], want[1:]) for a, b in zip(g[1:], w[1:])]
    names_right = all(g[0] == w[0] for g, w in zip(got[1:], want[1:]))
    if not names_right:
        return 0.0
    return sum(a == b for a, b in cells) / len(cells)
