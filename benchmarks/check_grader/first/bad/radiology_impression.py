"""Coverage of the key terms which the radiologist marked."""


def grade(sample: dict, item: dict) -> float:
    text = sample["output_text"].lower()
    mentions = sum(text.count(word) for word in item["keywords"])
    return min(1.0, mentions / len(item["keywords"]))
