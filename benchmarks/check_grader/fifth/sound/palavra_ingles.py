import unicodedata


def norm(text):
    return unicodedata.normalize("NFKC", text).strip().strip(".!\"'").strip().casefold()


def grade(sample, item):
    answer = norm(sample["output_text"])
    return 1.0 if answer in {norm(word) for word in item["aceites"]} else 0.0
