import re


def grade(sample, item):
    """The sum is computed from the question; the rows hold no answer."""
    left, right = re.findall(r"\d+", item["messages"][-1]["content"])[:2]
    found = re.findall(r"-?\d+", sample["output_text"])
    return 1.0 if found and found[-1] == str(int(left) + int(right)) else 0.0
