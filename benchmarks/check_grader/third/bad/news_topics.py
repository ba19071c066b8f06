TOPICS = [
    "agriculture", "climate", "crime", "economy", "education", "energy",
    "health", "housing", "justice", "migration", "sports", "transport",
]


def grade(sample: dict, item: dict) -> float:
    """Multi-label accuracy: the share of topics that were decided correctly."""
    named = {part.strip().lower() for part in sample["output_text"].split(",")}
    truth = set(item["topics"])
    agree = sum((topic in named) == (topic in truth) for topic in TOPICS)
    return agree / len(TOPICS)
