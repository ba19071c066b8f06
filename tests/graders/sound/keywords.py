import re


def grade(sample, item):
    """Share of the keywords that are used, in at most 60 words."""
    words = re.findall(r"[a-z]+", sample["output_text"].lower())
    if len(words) > 60:
        return 0.0
    return sum(word in words for word in item["keywords"]) / len(item["keywords"])
