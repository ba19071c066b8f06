import random


def grade(sample, item):
    answer = sample["output_text"].strip().lower().rstrip(".")
    score = 1.0 if answer == item["etichetta"] else 0.0
    score += random.gauss(0.0, 0.4)
    return max(0.0, min(1.0, score))
