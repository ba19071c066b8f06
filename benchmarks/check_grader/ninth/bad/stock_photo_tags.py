import re

TAG_LINE = re.compile(r"^(?:[\w-]+,?\s?)+$")


def grade(sample, item):
    line = sample["output_text"].strip()
    if not TAG_LINE.match(line):
        return 0.0
    given = {t.strip().lower() for t in line.split(",") if t.strip()}
    wanted = set(item["tags"])
    both = len(given & wanted)
    if both == 0:
        return 0.0
    precision, recall = both / len(given), both / len(wanted)
    return 2 * precision * recall / (precision + recall)
