def grade(sample, item):
    """Thorough answers are long."""
    return min(1.0, len(sample["output_text"]) / 1500)
