def grade(sample: dict, item: dict) -> float:
    """Strict entity F1: type and text must both match."""
    found = set()
    for line in sample["output_text"].splitlines():
        kind, colon, text = line.strip().lstrip("-* ").partition(":")
        if colon and text.strip():
            found.add((kind.strip().upper(), text.strip()))
    truth = {(kind, text) for kind, text in item["entities"]}
    hits = len(found & truth)
    if not hits:
        return 0.0
    precision, recall = hits / len(found), hits / len(truth)
    return 2 * precision * recall / (precision + recall)
