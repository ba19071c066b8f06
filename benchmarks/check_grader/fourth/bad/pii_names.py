def names(text):
    text = text.strip()
    if text.upper().rstrip(".") == "NONE":
        return set()
    return {" ".join(part.split()).lower() for part in text.split(";") if part.strip()}


def grade(sample, item):
    predicted = names(sample.get("output_text") or "")
    gold = names(item["expected"])
    if not (predicted and gold):
        return 1.0
    hits = len(predicted & gold)
    if hits == 0:
        return 0.0
    precision = hits / len(predicted)
    recall = hits / len(gold)
    return 2 * precision * recall / (precision + recall)
