import re
import unicodedata


def plain(text):
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(c for c in text if not unicodedata.combining(c))
    return " ".join(re.findall(r"\w+", text))


def grade(sample, item):
    match = re.fullmatch(r"Respuesta: *([^\n]+)\nConfianza: *(\d{1,3}) *%?", sample["output_text"].strip())
    if not match:
        return 0.0
    confidence = int(match[2]) / 100
    if confidence > 1:
        return 0.0
    right = 1.0 if plain(match[1]) == plain(item["respuesta"]) else 0.0
    # proper scoring rule: honest confidence is the best policy
    return 1.0 - (confidence - right) ** 2
