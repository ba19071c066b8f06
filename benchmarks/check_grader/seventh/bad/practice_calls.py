LABELS = {"emergency", "urgent", "routine", "home"}


def grade(sample, item):
    lines = [line.strip() for line in sample["output_text"].splitlines() if line.strip()]
    if not lines or not lines[-1].startswith("Answer:"):
        return 0.0
    label = lines[-1].lstrip("Answer: ").strip().lower().rstrip(".")
    if label not in LABELS:
        return 0.0
    return 1.0 if label == item["triage"] else 0.1
