import re


def grade(sample, item):
    """The letter behind the last 'Answer:'."""
    found = re.findall(r"Answer:\s*\(?([A-D])\b", sample["output_text"])
    return 1.0 if found and found[-1] == item["correct_choice"] else 0.0
