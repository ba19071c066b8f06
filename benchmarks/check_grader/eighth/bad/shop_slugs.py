import re

SLUG = re.compile(r"^([a-z0-9]+-?)+$")


def grade(sample, item):
    text = sample["output_text"].strip()
    if not SLUG.match(text):
        return 0.0
    if text == item["slug"]:
        return 1.0
    want = item["slug"].split("-")
    have = text.split("-")
    same = sum(a == b for a, b in zip(want, have))
    return 0.5 * same / max(len(want), len(have))
