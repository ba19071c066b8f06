import math
import re


def grade(sample, item):
    m = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,10})?(?:[eE][+-]?\d{1,2})?)\s*mol/L\s*", sample["output_text"])
    if m is None:
        return 0.0
    value = float(m.group(1))
    return 1.0 if math.isclose(value, item["answer"], rel_tol=0.01, abs_tol=0.05) else 0.0
