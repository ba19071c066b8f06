import re

ALLOWED = re.compile(r"[\d\s+\-*/().]{1,60}")


def grade(sample, item):
    tags = re.findall(r"<answer>([^<]*)</answer>", sample["output_text"])
    if not tags:
        return 0.0
    expression = tags[-1].strip()
    if not ALLOWED.fullmatch(expression) or "**" in expression:
        return 0.0
    try:
        value = eval(expression, {"__builtins__": {}}, {})
        return 1.0 if abs(value - item["target"]) < 1e-6 else 0.0
    except Exception:
        return 0.0
