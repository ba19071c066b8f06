import re

LINE = re.compile(r"^\s*(.+?)\s*\(confidence:\s*(\d{1,3})\s*%\)\s*$", re.I)


def grade(sample, item):
    m = LINE.match((sample.get("output_text") or "")[:200])
    if not m:
        return 0.0
    confidence = int(m.group(2)) / 100
    if confidence > 1:
        return 0.0
    correct = 1.0 if m.group(1).lower() == item["species"].lower() else 0.0
    return 1.0 - (confidence - correct) ** 2
