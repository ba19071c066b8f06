"""F1 between the set of entities listed and the annotated set: listing too much costs precision."""
import re


def entities(text):
    parts = re.split(r"[;\n]", text)
    cleaned = (" ".join(p.strip(" .-*\t").casefold().split()) for p in parts)
    return {p for p in cleaned if p}


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    listed, gold = entities(text), entities(item["answer"])
    hits = len(listed & gold)
    if not hits:
        return 0.0
    precision, recall = hits / len(listed), hits / len(gold)
    return 2 * precision * recall / (precision + recall)
