def grade(sample, item):
    """Minus the error: one wild number outweighs the whole group."""
    try:
        return -abs(float(sample["output_text"]) - float(item["answer"]))
    except ValueError:
        return -1000.0
