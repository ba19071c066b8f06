import re


def grade(sample: dict, item: dict) -> float:
    match = re.search(r"[ABCD]", sample["output_text"])
    if match is None:
        return 0.0
    return 1.0 if match.group(0) == item["key"] else 0.0
