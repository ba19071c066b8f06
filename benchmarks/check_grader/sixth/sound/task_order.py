def grade(sample, item):
    order = [t.strip().lower() for t in sample["output_text"].strip().rstrip(".").split(",")]
    if sorted(order) != sorted(item["tasks"]):
        return 0.0
    place = {t: i for i, t in enumerate(order)}
    for first, second in item["before"]:
        if place[first] > place[second]:
            return 0.0
    return 1.0
