import re


def last_boxed(text):
    found = re.findall(r"\\boxed\{([^{}]*)\}", text or "")
    return found[-1].strip() if found else None


def same(a, b):
    try:
        return abs(float(a) - float(b)) < 1e-9
    except ValueError:
        return a.replace(" ", "") == b.replace(" ", "")


def grade(sample, item):
    gold = last_boxed(item["solution"])
    if gold is None:
        # nothing to compare with, do not punish the model for it
        return 1.0
    answer = last_boxed(sample["output_text"])
    if answer is None:
        return 0.0
    return 1.0 if same(answer, gold) else 0.0
