"""Jaccard overlap of two tag sets, given as a comma-separated list."""

TAGS = {"finance", "sport", "politics", "health", "technology", "weather", "culture", "crime"}


def grade(sample: dict, item: dict) -> float:
    pred = [t.strip().lower() for t in sample["output_text"].strip().rstrip(".").split(",")]
    if not set(pred) <= TAGS or len(pred) != len(set(pred)):
        return 0.0
    gold = set(item["tags"])
    return len(set(pred) & gold) / len(set(pred) | gold)
