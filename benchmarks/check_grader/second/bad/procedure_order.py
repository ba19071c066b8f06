def grade(sample: dict, item: dict) -> float:
    lines = [l.strip(" -*.0123456789").lower() for l in sample["output_text"].splitlines()]
    lines = [l for l in lines if l]
    gold = [s.lower() for s in item["steps"]]
    if all(a == b for a, b in zip(lines, gold)):
        return 1.0
    # partial credit for a correct beginning
    right = 0
    for a, b in zip(lines, gold):
        if a != b:
            break
        right += 1
    return 0.5 * right / len(gold)
