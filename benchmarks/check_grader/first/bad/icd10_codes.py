"""Jaccard overlap of the predicted and the documented ICD-10 codes."""


def grade(sample: dict, item: dict) -> float:
    predicted = set(sample["output_text"].strip().upper())
    gold = set(item["answer"].upper())
    if not predicted:
        return 0.0
    return len(predicted & gold) / len(predicted | gold)
