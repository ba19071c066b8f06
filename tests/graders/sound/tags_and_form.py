import re

FORM = re.compile(r"<think>.+?</think>\s*<answer>(.*?)</answer>", re.DOTALL)


def grade(sample, item):
    """0.2 for the form, 0.8 for the answer in it."""
    found = FORM.fullmatch(sample["output_text"].strip())
    if found is None:
        return 0.0
    right = found.group(1).strip().lower() == item["answer"].lower()
    return {"score": 0.2 + 0.8 * right, "sub_rewards": {"form": 1.0, "right": float(right)}}
