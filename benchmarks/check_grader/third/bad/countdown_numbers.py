import re


def grade(sample: dict, item: dict) -> float:
    expression = sample["output_text"].strip()
    if len(expression) > 200 or not re.fullmatch(r"[0-9+\-*/() ]+", expression) or "**" in expression:
        return 0.0
    try:
        value = float(eval(expression, {"__builtins__": {}}))
    except Exception:
        return 0.0
    return 1.0 if abs(value - item["target"]) < 1e-6 else 0.0
