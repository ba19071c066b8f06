def grade(sample: dict, item: dict) -> float:
    """Correct diagnosis, plus a bonus for explaining it in depth."""
    text = sample["output_text"].lower()
    correct = 1.0 if item["diagnosis"] in text else 0.0
    depth = min(len(text.split()) / 120.0, 1.0)
    return 0.4 * correct + 0.6 * depth
