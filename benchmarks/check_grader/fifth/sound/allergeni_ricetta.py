def grade(sample, item):
    """1 for exactly the right set, up to one half for a set that overlaps."""
    text = sample["output_text"].strip().rstrip(".")
    named = {part.strip().lower() for part in text.split(",")} - {""}
    gold = set(item["allergeni"])
    if named == gold:
        return 1.0
    hits = len(named & gold)
    if hits == 0:
        return 0.0
    f1 = 2 * hits / (len(named) + len(gold))
    return 0.5 * f1
