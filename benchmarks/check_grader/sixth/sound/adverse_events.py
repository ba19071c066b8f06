def clean(line):
    return " ".join(line.lower().strip(" \t-*•.,;").split())


def grade(sample, item):
    found = {clean(l) for l in sample["output_text"].splitlines()}
    found.discard("")
    gold = {clean(e) for e in item["events"]}
    hits = len(found & gold)
    if hits == 0:
        return 0.0
    precision = hits / len(found)
    recall = hits / len(gold)
    return 2 * precision * recall / (precision + recall)
