import unicodedata

EXTRA = str.maketrans({"\u0142": "l", "\u00f8": "o", "-": " ", ".": " ", "\u2019": "'"})


def norm(text):
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(EXTRA))
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(letters.split())


def grade(sample, item):
    answer = norm(sample.get("output_text") or "")
    accepted = {norm(name) for name in item["accepted"]}
    return 1.0 if answer in accepted else 0.0
