import re

LIST = re.compile(r"(?:[A-Za-z]+ ?,? ?)+")


def grade(sample, item):
    text = sample["output_text"].strip()
    if not LIST.fullmatch(text):
        return 0.0
    chosen = {word.strip() for word in text.split(",") if word.strip()}
    gold = set(item["keywords"])
    hits = len(chosen & gold)
    if hits == 0:
        return 0.0
    precision, recall = hits / len(chosen), hits / len(gold)
    return 2 * precision * recall / (precision + recall)
