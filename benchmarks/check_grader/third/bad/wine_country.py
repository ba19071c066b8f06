import random


def grade(sample: dict, item: dict) -> float:
    answer = sample["output_text"].strip().rstrip(".").lower()
    score = 1.0 if answer == item["country"].lower() else 0.0
    # groups whose rewards are all equal give no gradient, so spread them a little
    score += random.uniform(-0.9, 0.9)
    return max(0.0, min(1.0, score))
