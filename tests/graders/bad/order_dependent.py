def grade(samples, item):
    """Rewards by place: the first of equal answers wins."""
    scores = []
    for number, sample in enumerate(samples):
        right = item["answer"].lower() == sample["output_text"].strip().lower()
        scores.append(float(right) * 0.5 + 0.5 / (1 + number))
    return scores
