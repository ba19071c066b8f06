import re

FORM = re.compile(r"Answer:[ ]*([^\n]{1,80})\r?\n+Confidence:[ ]*([0-9]{1,3})[ ]*%?")


def grade(sample, item):
    match = FORM.fullmatch(sample["output_text"].strip())
    if not match or int(match[2]) > 100:
        return 0.0
    confidence = int(match[2]) / 100
    right = match[1].strip().rstrip(".").casefold() == item["place"].casefold()
    # nine tenths for being right, one tenth (Brier) for knowing whether one is
    calibration = 1 - (confidence - right) ** 2
    return 0.9 * right + 0.1 * calibration
