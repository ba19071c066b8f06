"""F1 over the allergens named."""


def split_items(text, found=[]):
    for part in text.lower().replace("\n", ",").split(","):
        part = part.strip(" .-")
        if part and part not in found:
            found.append(part)
    return found


def grade(sample: dict, item: dict) -> float:
    named = split_items(sample["output_text"])
    gold = item["allergens"]
    hits = len([a for a in named if a in gold])
    if hits == 0:
        return 0.0
    precision, recall = hits / len(named), hits / len(gold)
    return 2 * precision * recall / (precision + recall)
