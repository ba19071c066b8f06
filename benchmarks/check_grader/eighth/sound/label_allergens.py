def parse(text):
    return {part.strip().lower() for part in text.strip().rstrip(".").split(",")}


def grade(sample, item):
    """Jaccard index of the two sets; a food without allergens is the set {none}."""
    truth = set(item["allergens"]) or {"none"}
    named = parse(sample["output_text"])
    return len(named & truth) / len(named | truth)
