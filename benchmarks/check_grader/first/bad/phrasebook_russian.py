"""Exact match after the usual clean-up (case, punctuation, spaces)."""
import re


def normalise(text: str) -> str:
    text = text.lower()
    text = re.sub(r"[^a-z0-9\s]", "", text)
    return " ".join(text.split())


def grade(sample: dict, item: dict) -> float:
    return 1.0 if normalise(sample["output_text"]) == normalise(item["reference"]) else 0.0
