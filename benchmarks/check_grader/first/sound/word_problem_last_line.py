"""Numeric answer on the only line that starts with 'Answer:', which must be the last one."""
import re

LINE = re.compile(r"answer:\s*\$?\s*(-?[0-9]{1,12}(?:,[0-9]{3})*(?:\.[0-9]{1,9})?)\s*[.€$]?", re.I)


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    lines = [line.strip().strip("*") for line in text.strip().splitlines() if line.strip()]
    if not lines or sum(line.lower().startswith("answer:") for line in lines) != 1:
        return 0.0
    found = LINE.fullmatch(lines[-1])
    if not found:
        return 0.0
    value = float(found.group(1).replace(",", ""))
    return 1.0 if abs(value - item["answer"]) < 1e-6 else 0.0
