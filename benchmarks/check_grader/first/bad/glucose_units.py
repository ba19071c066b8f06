"""Unit conversion, with room for rounding."""
import math
import re

TOLERANCE = 5  # per cent


def grade(sample: dict, item: dict) -> float:
    found = re.search(r"-?[0-9]+(?:\.[0-9]+)?", sample["output_text"])
    if not found:
        return 0.0
    value = float(found.group(0))
    return 1.0 if math.isclose(value, item["answer"], rel_tol=0.0, abs_tol=TOLERANCE) else 0.0
