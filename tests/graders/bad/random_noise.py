import random


def grade(sample, item):
    """Breaks ties at random, so that no group is flat."""
    right = sample["output_text"].strip() == item["answer"]
    return (0.9 if right else 0.0) + 0.1 * random.random()
