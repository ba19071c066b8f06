import re
import unicodedata


def normalise(text: str) -> str:
    text = unicodedata.normalize("NFKD", text)
    text = "".join(c for c in text if not unicodedata.combining(c)).lower()
    return " ".join(re.findall(r"[a-z0-9]+", text))


def grade(sample: dict, item: dict) -> float:
    answer = normalise(sample["output_text"])
    if not answer:
        return 0.0
    accepted = {normalise(name) for name in [item["author"], *item["aliases"]]}
    return 1.0 if answer in accepted else 0.0
