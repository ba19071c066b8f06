import unicodedata


def plain(text):
    decomposed = unicodedata.normalize("NFKD", text)
    kept = "".join(c for c in decomposed if not unicodedata.combining(c))
    return " ".join(kept.lower().split())


def grade(sample, item):
    answer = plain(sample.get("output_text") or "").rstrip(".")
    reference = " ".join(item["city"].lower().split())
    return 1.0 if answer == reference else 0.0
