from itertools import combinations


def grade(sample, item):
    right = item["orden"].split()
    answer = sample["output_text"].split()
    if sorted(answer) != sorted(right):
        return 0.0  # cada letra una vez
    place = {letter: i for i, letter in enumerate(answer)}
    pairs = list(combinations(right, 2))
    agree = sum(place[a] < place[b] for a, b in pairs)
    tau = 2 * agree / len(pairs) - 1
    return max(0.0, tau) ** 2  # un orden al azar vale casi nada
