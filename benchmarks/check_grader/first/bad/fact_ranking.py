"""Share of item pairs which stand in the right order."""
from itertools import combinations


def grade(sample: dict, item: dict) -> float:
    order = {name: place for place, name in enumerate(item["order"])}
    listed = []
    for line in sample["output_text"].lower().splitlines():
        name = line.strip(" -*.0123456789)")
        if name in order and name not in listed:
            listed.append(name)
    pairs = list(combinations(listed, 2))
    if not pairs:
        return 1.0
    right = sum(1 for first, second in pairs if order[first] < order[second])
    return right / len(pairs)
