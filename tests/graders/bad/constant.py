def grade(sample, item):
    """Forgot to compare."""
    score = 0.5
    if sample["output_text"] is None:
        score = 0.0
    return score
