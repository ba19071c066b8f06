"""Kendall's tau against the true order, floored at 0; every item must be there exactly once and nothing else."""
import re
from itertools import combinations


def read(text):
    lines = (re.sub(r"^\s*(?:[0-9]{1,2}[.)]|[-*])\s+", "", line) for line in text.splitlines())
    return [" ".join(line.casefold().split()) for line in lines if line.strip()]


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    got, truth = read(text), read(item["answer"])
    if sorted(got) != sorted(truth):
        return 0.0
    place = {name: i for i, name in enumerate(truth)}
    pairs = list(combinations(got, 2))
    agree = sum(1 if place[a] < place[b] else -1 for a, b in pairs)
    return max(0.0, agree / len(pairs))
