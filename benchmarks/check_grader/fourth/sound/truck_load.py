FLOOR = 0.8


def grade(sample, item):
    chosen = [p.strip().upper() for p in (sample.get("output_text") or "").strip().rstrip(".").split(",")]
    pallets = item["pallets"]
    if len(set(chosen)) != len(chosen) or any(p not in pallets for p in chosen):
        return 0.0
    weight = sum(pallets[p][0] for p in chosen)
    if weight > item["capacity"]:
        return 0.0
    share = sum(pallets[p][1] for p in chosen) / item["best_value"]
    return max(0.0, (share - FLOOR) / (1.0 - FLOOR))
