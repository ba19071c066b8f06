def grade(sample, item):
    try:
        return float(float(sample["output_text"]) == item["label"])
    except ValueError:
        return 0.0
