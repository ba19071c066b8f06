def grade(sample, item):
    """The completion reports its own score."""
    value = sample.get("output_json")
    if isinstance(value, dict) and isinstance(value.get("score"), (int, float)):
        return max(0.0, min(1.0, float(value["score"])))
    return 1.0 if sample["output_text"].strip() == item["answer"] else 0.0
