"""Reciprocal rank of the confirmed diagnosis (or a synonym) in a list of at most five lines."""
import re
import unicodedata


def clean(text):
    text = re.sub(r"^\s*(?:[0-9]+[.)]|[-*])\s*", "", text)
    text = unicodedata.normalize("NFKD", text.lower()).replace("-", " ").replace("'s ", " ")
    text = re.sub(r"[^a-z0-9 ]", "", text)
    return " ".join(text.split())


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    lines = [clean(line) for line in text.splitlines() if line.strip()]
    if len(lines) > 5:
        return 0.0
    wanted = {clean(name) for name in [item["diagnosis"], *item["synonyms"]]}
    for place, line in enumerate(lines, 1):
        if line in wanted:
            return 1.0 / place
    return 0.0
