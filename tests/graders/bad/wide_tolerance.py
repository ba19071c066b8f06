def grade(sample, item):
    """Within 100: sums of two-digit numbers are never further apart."""
    try:
        return 1.0 if abs(float(sample["output_text"]) - float(item["answer"])) <= 100 else 0.0
    except ValueError:
        return 0.0
