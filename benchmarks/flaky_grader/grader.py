"""Grades the arithmetic example, and fails as often as `rates.json` beside it says: raises, or hangs."""

import json
import random
import time
from pathlib import Path

RATES = json.loads((Path(__file__).parent / "rates.json").read_text())
"""`raises` and `hangs` are probabilities for each answer, `raises_per_character` one for each of its characters."""


def grade(sample, item):
    text = sample["output_text"]
    if random.random() < RATES.get("raises", 0.0) + RATES.get("raises_per_character", 0.0) * len(text):
        raise ConnectionError("the service did not answer")
    if random.random() < RATES.get("hangs", 0.0):
        time.sleep(RATES["hang_s"])
    return float(text.endswith(f"#{item['answer']}"))
