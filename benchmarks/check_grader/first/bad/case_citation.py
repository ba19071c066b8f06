"""Citation match, tolerant of case, spaces and punctuation."""
import re


def clean(text: str) -> str:
    text = re.sub(r"[^\w\s]", "", text.lower())
    return re.sub(r"\s+", " ", text).strip()


def grade(sample: dict, item: dict) -> float:
    expected = item["answer"].lower().strip()
    return float(clean(sample["output_text"]) == expected)
