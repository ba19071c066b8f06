import re


def choice(text):
    m = re.search(r"[ABCD]", text.upper())
    return m.group() if m else None


def grade(sample, item):
    return 1.0 if choice(sample.get("output_text") or "") == item["letter"] else 0.0
