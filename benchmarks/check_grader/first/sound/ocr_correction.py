"""How much of the scan's edit distance to the truth was mended; leaving the scan as it is scores 0."""


def distance(a, b):
    row = list(range(len(b) + 1))
    for i, ca in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, cb in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (ca != cb))
    return row[-1]


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    text, truth, scan = " ".join(text.split()), item["answer"], item["scan"]
    if not text or len(text) > 2 * len(truth):
        return 0.0
    before = distance(scan, truth)
    if before == 0:
        return 1.0 if text == truth else 0.0
    return max(0.0, 1.0 - distance(text, truth) / before)
