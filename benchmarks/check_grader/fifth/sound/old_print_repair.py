def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def grade(sample, item):
    """Share of the reading errors that were repaired; an unchanged or worse line scores 0."""
    line = sample["output_text"].strip()
    gold, scan = item["text"], item["scan"]
    if len(line) > 2 * len(gold):
        return 0.0
    left = edits(line, gold)
    return max(0.0, 1.0 - left / edits(scan, gold))
