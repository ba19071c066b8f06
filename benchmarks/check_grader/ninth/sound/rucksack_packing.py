def grade(sample, item):
    text = (sample.get("output_text") or "").strip().rstrip(".").lower()
    chosen = [part.strip() for part in text.split(",")]
    if len(set(chosen)) != len(chosen) or any(c not in item["weights"] for c in chosen):
        return 0.0
    if sum(item["weights"][c] for c in chosen) > item["capacity"]:
        return 0.0
    ratio = sum(item["values"][c] for c in chosen) / item["best_value"]
    if ratio >= 1.0:
        return 1.0
    # below the optimum the reward falls off quickly
    return 0.6 * ratio ** 4
