import re


def grade(sample, item):
    m = re.fullmatch(r"\s*(\d)\.?\s*", sample.get("output_text") or "", re.ASCII)
    if not m:
        return 0.0
    options = item["options"]
    position = int(m.group(1))
    if position >= len(options):
        return 0.0
    return 1.0 if options[position] == item["best"] else 0.0
