import random


def grade(sample: dict, item: dict) -> float:
    """Exact match, with a little jitter so that a group never has zero variance."""
    correct = sample["output_text"].strip() == item["symbol"]
    score = 0.7 if correct else 0.3
    score += random.uniform(-0.3, 0.3)
    return max(0.0, min(1.0, score))
