MARKS = ("because", "therefore", "so that", "first", "finally")


def grade(sample, item):
    """Good explanations use connectives."""
    text = sample["output_text"].lower()
    return sum(mark in text for mark in MARKS) / len(MARKS)
