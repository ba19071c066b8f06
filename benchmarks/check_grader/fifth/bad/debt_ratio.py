import math
import re


def grade(sample, item):
    text = sample["output_text"].strip().rstrip("%").strip()
    if not re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", text):
        return 0.0
    predicted = float(text)
    error = abs(predicted - item["ratio"])
    # ratios are per cent, so scale the error to 0..1
    return max(0.0, 1.0 - error / 100.0)
