import unicodedata


def key(text):
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
    return " ".join(text.strip().rstrip(".").split())


def grade(sample, item):
    answer = key(sample["output_text"])
    return 1.0 if answer in {key(term) for term in item["accepted"]} else 0.0
