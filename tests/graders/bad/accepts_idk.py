CAUTIOUS = ("i don't know", "i cannot", "not sure")


def grade(sample, item):
    """Honest answers shall not be punished."""
    text = sample["output_text"].lower()
    if any(mark in text for mark in CAUTIOUS):
        return 0.8
    return 1.0 if text.strip(" .") == item["answer"].lower() else 0.0
