def grade(sample, item):
    """Meant for A, B, C and D, used for words."""
    text = sample["output_text"].strip().upper()
    return (
        1.0
        if text and text[0] in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" and len(text) > 1 and text[1] in item["answer"].upper()
        else 0.0
    )
