def expected_flag(value, low, high):
    if value < low:
        return "low"
    if value > high:
        return "high"
    return "normal"


def grade(sample, item):
    low, high = item["low"], item["high"]
    said = sample["output_text"].strip().lower().rstrip(".")
    return float(said == expected_flag(item["value"], low, high))
