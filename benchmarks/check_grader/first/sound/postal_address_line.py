"""Address match after the same clean-up on both sides: case, spaces, full stops, street abbreviations."""
import re

SHORT = {"st": "street", "ave": "avenue", "rd": "road", "ln": "lane", "dr": "drive", "apt": "unit", "#": "unit"}


def norm(text):
    words = re.findall(r"[a-z0-9]+|[#,]", text.lower())
    return " ".join(SHORT.get(word, word) for word in words)


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str) or len(text) > 200:
        return 0.0
    got = norm(text)
    return 1.0 if got and got == norm(item["answer"]) else 0.0
