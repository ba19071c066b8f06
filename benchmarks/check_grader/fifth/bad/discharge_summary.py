import re


def normalise(text):
    return re.sub(r"\s+", " ", text.lower())


def grade(sample, item):
    """Share of the clinical key points that the summary mentions."""
    summary = normalise(sample["output_text"])
    points = item["key_terms"]
    covered = [p for p in points if normalise(p) in summary]
    return len(covered) / len(points)
