def grade(sample: dict, item: dict) -> float:
    """Kendall's tau, with no credit below zero and none for what is not the whole list."""
    truth = [name.lower() for name in item["ranking"]]
    guess = [part.strip().strip(".").lower() for part in sample["output_text"].strip().split(",")]
    if sorted(guess) != sorted(truth):
        return 0.0
    position = {name: i for i, name in enumerate(guess)}
    n = len(truth)
    score = 0
    for i in range(n):
        for j in range(i + 1, n):
            score += 1 if position[truth[i]] < position[truth[j]] else -1
    return max(0.0, score / (n * (n - 1) / 2))
