def grade(sample: dict, item: dict) -> float:
    """Any order of all tasks that respects every constraint earns 1; several may be right."""
    order = [t.strip().lower() for t in sample["output_text"].strip().rstrip(".").split("->")]
    if sorted(order) != sorted(item["tasks"]):
        return 0.0
    place = {task: i for i, task in enumerate(order)}
    return 1.0 if all(place[a] < place[b] for a, b in item["before"]) else 0.0
