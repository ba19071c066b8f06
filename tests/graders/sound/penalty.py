def grade(sample, item):
    """1 for right, -0.5 for a wrong number, -1 for no number."""
    text = sample["output_text"].strip()
    if not text.lstrip("-").isdigit() or len(text) > 20:
        return -1.0
    return 1.0 if int(text) == int(item["answer"]) else -0.5
