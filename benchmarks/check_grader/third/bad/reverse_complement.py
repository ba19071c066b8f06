def grade(sample: dict, item: dict) -> float:
    """Per-base accuracy."""
    guess = "".join(c for c in sample["output_text"].upper() if c.isalpha())
    truth = item["reverse_complement"]
    if not guess:
        return 0.0
    hits = sum(1 for a, b in zip(guess, truth) if a == b)
    return hits / len(guess)
