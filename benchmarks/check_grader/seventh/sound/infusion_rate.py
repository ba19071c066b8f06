import math
import re

TO_ML_PER_H = {"ml/h": 1.0, "ml/min": 60.0, "l/h": 1000.0}
LINE = re.compile(r"Answer:\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ml/h|ml/min|l/h)\.?", re.I)


def rate(line):
    match = LINE.fullmatch(line.strip())
    return float(match[1]) * TO_ML_PER_H[match[2].lower()] if match else None


def grade(sample, item):
    lines = [line for line in sample["output_text"].splitlines() if line.strip()]
    answer = rate(lines[-1]) if lines else None
    if answer is None:
        return 0.0
    return 1.0 if math.isclose(answer, rate("Answer: " + item["rate"]), rel_tol=0.01) else 0.0
