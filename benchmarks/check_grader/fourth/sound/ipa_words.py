import unicodedata


def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def grade(sample, item):
    text = unicodedata.normalize("NFC", sample.get("output_text") or "").strip()
    if len(text) < 3 or len(text) > 80 or text[0] != "/" or text[-1] != "/":
        return 0.0
    guess = text[1:-1].replace("g", "\u0261").replace(":", "\u02d0")
    gold = unicodedata.normalize("NFC", item["ipa"])
    rate = edits(guess, gold) / len(gold)
    return max(0.0, 1.0 - 2 * rate)
