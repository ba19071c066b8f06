def grade(sample, item):
    """Counts mentions."""
    return min(1.0, sample["output_text"].count(item["answer"]) / 5)
