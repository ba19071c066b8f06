def grade(sample, item):
    return float(sample["output_text"].strip() == item["answer"].strip())
