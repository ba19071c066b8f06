def grade(sample: dict, item: dict) -> float:
    """F1 of the two ingredient sets."""
    pred = {p.strip().lower() for p in sample["output_text"].split(",")}
    gold = {g.lower() for g in item["ingredients"]}
    overlap = len(pred & gold)
    precision = overlap / len(pred)
    recall = overlap / len(gold)
    return 2 * precision * recall / (precision + recall)
