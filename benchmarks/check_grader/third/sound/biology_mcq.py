import re


def grade(sample: dict, item: dict) -> float:
    lines = sample["output_text"].strip().splitlines()
    if not lines:
        return 0.0
    match = re.fullmatch(r"answer *: *\(?([A-D])\)?\.?", lines[-1].strip(" *"), re.IGNORECASE)
    if match is None:
        return 0.0
    return 1.0 if match.group(1).upper() == item["correct"] else 0.0
