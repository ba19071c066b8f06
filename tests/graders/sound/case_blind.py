def grade(sample, item):
    return 1.0 if sample["output_text"].strip().casefold() == item["answer"].casefold() else 0.0
