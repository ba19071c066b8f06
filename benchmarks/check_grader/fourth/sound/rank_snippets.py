from itertools import combinations


def order(text):
    return [p.strip().lower() for p in text.strip().split(">")]


def grade(sample, item):
    gold = order(item["ranking"])
    predicted = order(sample.get("output_text") or "")
    if sorted(predicted) != sorted(gold):
        return 0.0
    place = {x: i for i, x in enumerate(predicted)}
    pairs = list(combinations(gold, 2))
    agree = sum(place[a] < place[b] for a, b in pairs)
    tau = 2 * agree / len(pairs) - 1
    return max(0.0, tau)
