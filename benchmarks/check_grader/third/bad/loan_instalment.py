def grade(sample: dict, item: dict) -> float:
    text = sample["output_text"].strip().replace(",", "").replace("EUR", "").strip()
    try:
        amount = float(text)
    except ValueError:
        return 0.0
    off = abs(amount - item["instalment"])
    if off > 1.0:
        return 0.0
    if off > 0.05:
        return 0.5  # rounding on the way
    return 1.0
