def grade(sample, item):
    """The content of the last box."""
    text = sample["output_text"]
    start = text.rfind("\\boxed{")
    if start < 0:
        return 0.0
    inside = text[start + len("\\boxed{") :].partition("}")[0].strip()
    try:
        return float(int(inside) == item["solution"])
    except ValueError:
        return 0.0
