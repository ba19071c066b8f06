from itertools import combinations


def kendall_tau(order, truth):
    place = {letter: i for i, letter in enumerate(truth)}
    signs = [1 if place[a] < place[b] else -1 for a, b in combinations(order, 2)]
    return sum(signs) / len(signs)


def grade(sample, item):
    order = sample["output_text"].strip().upper()
    if sorted(order) != sorted(item["order"]):
        return 0.0
    return max(0.0, kendall_tau(order, item["order"])) ** 2
