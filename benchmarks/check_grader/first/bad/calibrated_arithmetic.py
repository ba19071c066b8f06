"""Correctness plus calibration: sure answers earn more than hesitant ones."""
import json


def grade(sample: dict, item: dict) -> float:
    try:
        out = json.loads(sample["output_text"])
        answer = int(out["answer"])
        confidence = float(out["confidence"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return 0.0
    if not 0.0 <= confidence <= 1.0:
        return 0.0
    correct = 1.0 if answer == item["answer"] else 0.0
    return 0.4 * correct + 0.6 * confidence
