from itertools import combinations


def grade(sample, item):
    text = (sample.get("output_text") or "").strip()
    if len(text) > 100:
        return 0.0
    ranking = [part.strip() for part in text.split(">")]
    gold = item["order"]
    if sorted(ranking) != sorted(gold):
        return 0.0
    place = {offer: i for i, offer in enumerate(ranking)}
    pairs = list(combinations(gold, 2))
    agree = sum(1 if place[a] < place[b] else -1 for a, b in pairs)
    # Kendall's tau, no pay for orders that are no better than chance
    tau = max(0.0, agree / len(pairs))
    return 1.0 if tau == 1.0 else 0.8 * tau ** 2
