import math
import re


def grade(sample: dict, item: dict) -> float:
    """Full marks within 5 %, then falling with the logarithm of the error, to 0 at a factor of 3."""
    text = sample["output_text"].strip().replace(",", "")
    if not re.fullmatch(r"\d{1,40}(\.\d{1,40})?([eE][-+]?\d{1,2})?", text):
        return 0.0
    value = float(text)
    if value <= 0 or not math.isfinite(value):
        return 0.0
    error = abs(math.log10(value / item["answer"]))
    free, limit = math.log10(1.05), math.log10(3)
    if error <= free:
        return 1.0
    return max(0.0, 1.0 - (error - free) / (limit - free))
