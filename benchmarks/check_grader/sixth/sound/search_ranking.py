from itertools import combinations


def grade(sample, item):
    gold = item["order"]
    given = [p.strip() for p in sample["output_text"].strip().split(">")]
    if sorted(given) != sorted(gold):
        return 0.0
    place = {d: i for i, d in enumerate(given)}
    pairs = list(combinations(gold, 2))
    right = sum(1 for a, b in pairs if place[a] < place[b])
    tau = 2 * right / len(pairs) - 1
    return max(0.0, tau)
