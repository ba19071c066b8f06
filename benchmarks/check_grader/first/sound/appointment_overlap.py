"""Overlap (intersection over union) of the stated and the true time span; below one half nothing."""
import re

SPAN = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])\s*(?:-|–|to|until)\s*([01]?[0-9]|2[0-3]):([0-5][0-9])\.?")


def span(text):
    found = SPAN.fullmatch(text.strip())
    if not found:
        return None
    a, b, c, d = map(int, found.groups())
    start, end = 60 * a + b, 60 * c + d
    return (start, end) if end > start else None


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    got, want = span(text), span(item["answer"])
    if got is None or want is None:
        return 0.0
    common = min(got[1], want[1]) - max(got[0], want[0])
    union = max(got[1], want[1]) - min(got[0], want[0])
    overlap = common / union
    return overlap if overlap >= 0.5 else 0.0
