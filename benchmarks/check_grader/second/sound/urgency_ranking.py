def grade(sample: dict, item: dict) -> float:
    """max(0, Kendall tau) of a complete permutation; anything else is 0."""
    gold = [x.lower() for x in item["order"]]
    pred = [x.strip().lower() for x in sample["output_text"].split(">")]
    if sorted(pred) != sorted(gold):
        return 0.0
    rank = [gold.index(x) for x in pred]
    n = len(rank)
    good = sum(rank[i] < rank[j] for i in range(n) for j in range(i + 1, n))
    pairs = n * (n - 1) // 2
    return max(0.0, (2 * good - pairs) / pairs)
