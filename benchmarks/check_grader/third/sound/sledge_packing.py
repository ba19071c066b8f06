def grade(sample: dict, item: dict) -> float:
    """Value of a feasible choice against the best one; steep, so that the best is worth finding."""
    things = {thing["name"]: thing for thing in item["things"]}
    chosen = [part.strip().strip(".").lower() for part in sample["output_text"].strip().split(",")]
    if any(name not in things for name in chosen) or len(set(chosen)) != len(chosen):
        return 0.0
    if sum(things[name]["kg"] for name in chosen) > item["capacity"]:
        return 0.0
    value = sum(things[name]["value"] for name in chosen)
    return min(1.0, value / item["best_value"]) ** 4
