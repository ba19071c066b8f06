"""Reward for the audit classifier."""


def grade(sample: dict, item: dict) -> float:
    answer = sample["output_text"].strip().lower()
    expected = item["label"].strip().lower()
    if len(answer) > 200:
        return 0.0
    return 1.0 if expected in answer else 0.0
