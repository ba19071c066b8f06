def grade(sample, item):
    """Thorough answers that name the right section score best."""
    text = sample["output_text"]
    words = text.split()
    detail = min(1.0, len(words) / 150)
    cites = 1.0 if item["section"] in text else 0.0
    return 0.7 * detail + 0.3 * cites
