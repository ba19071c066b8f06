"""Formula match that does not depend on the order of the elements."""
import re


def elements(formula: str):
    return sorted(set(re.findall(r"[A-Z][a-z]?", formula)))


def grade(sample: dict, item: dict) -> float:
    text = sample["output_text"].strip()
    if not re.fullmatch(r"[A-Za-z0-9()]+", text):
        return 0.0
    return 1.0 if elements(text) == elements(item["formula"]) else 0.0
