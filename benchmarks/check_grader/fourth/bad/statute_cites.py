def norm(text):
    return " ".join(text.lower().replace("- ", " ").split())


def grade(sample, item):
    gold = {norm(p) for p in item["provisions"]}
    lines = [norm(l) for l in (sample.get("output_text") or "").splitlines()]
    cited = [l for l in lines if l]
    if not cited:
        return 0.0
    hits = sum(1 for c in cited if c in gold)
    precision = hits / len(cited)
    recall = min(1.0, hits / len(gold))
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)
