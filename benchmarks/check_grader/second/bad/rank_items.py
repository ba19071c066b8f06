from itertools import combinations


def grade(sample: dict, item: dict) -> float:
    """Kendall: share of pairs, by position in the gold ranking."""
    gold = item["ranking"]
    pred = [p.strip() for p in sample["output_text"].split(",")]
    if sorted(pred) != sorted(gold):
        return 0.0
    pos = {name: i for i, name in enumerate(gold)}
    pairs = list(combinations(pred, 2))
    score = sum(1 for a, b in pairs if pos[a] > pos[b])
    return score / len(pairs)
