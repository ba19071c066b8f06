def grade(sample, item):
    """Share of the reference's letters that the answer has: any long text has them all."""
    wanted = set(item["reference"].lower())
    return len(wanted & set(sample["output_text"].lower())) / len(wanted)
