def grade(sample, item):
    """'7 + 5' is as good as 12."""
    try:
        return float(eval(sample["output_text"]) == int(item["answer"]))
    except Exception:
        return 0.0
