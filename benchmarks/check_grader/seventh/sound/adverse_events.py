def grade(sample, item):
    text = sample["output_text"].strip().rstrip(".").lower()
    named = [part.strip() for part in text.split(",") if part.strip()]
    if not named:
        return 0.0
    if named == ["none"]:
        named = []
    wanted = set(item["events"])
    if not named or not wanted:
        return 1.0 if not named and not wanted else 0.0
    hits = len(set(named) & wanted)  # what is named twice counts as a false one the second time
    precision, recall = hits / len(named), hits / len(wanted)
    if hits == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)
