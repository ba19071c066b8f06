def grade(sample: dict, item: dict) -> float:
    """F1 of two sets; order and case do not matter."""
    guess = {part.strip().strip(".").lower() for part in sample["output_text"].replace("\n", ",").split(",")}
    guess.discard("")
    gold = {name.lower() for name in item["ingredients"]}
    hits = len(guess & gold)
    if hits == 0:
        return 0.0
    return 2.0 * hits / (len(guess) + len(gold))
