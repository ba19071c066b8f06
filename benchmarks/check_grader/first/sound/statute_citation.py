"""Citation match; 'Article', 'Art.' and 'art' are the same, as are case and spacing."""
import re


def norm(text):
    text = text.strip().rstrip(".").lower()
    text = re.sub(r"^article\b|^art\b\.?", "art ", text)
    text = re.sub(r"\bof the\b", " ", text)
    return " ".join(text.split())


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str) or len(text) > 100:
        return 0.0
    got = norm(text)
    return 1.0 if got and got == norm(item["answer"]) else 0.0
