def grade(sample, item):
    """The wrong way round: is the answer's text in the reference?"""
    return 1.0 if sample["output_text"].strip().lower() in item["answer"].lower() else 0.0
