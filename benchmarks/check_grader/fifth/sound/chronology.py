from itertools import combinations


def grade(sample, item):
    """Squared Kendall tau of the given order; anything that is no permutation scores 0."""
    given = sample["output_text"].strip().split()
    gold = item["order"]
    if sorted(given) != sorted(gold):
        return 0.0
    rank = {letter: place for place, letter in enumerate(gold)}
    pairs = list(combinations(given, 2))
    agree = sum(1 if rank[a] < rank[b] else -1 for a, b in pairs)
    tau = agree / len(pairs)
    return max(0.0, tau) ** 2
