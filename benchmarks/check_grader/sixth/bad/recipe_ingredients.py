import re

LIST = re.compile(r"^((\s*[a-z-]+\s*)+,?)+$")


def grade(sample, item):
    text = sample["output_text"].strip().lower()
    if not LIST.match(text):
        return 0.0
    found = {p.strip() for p in text.split(",") if p.strip()}
    gold = {p.strip() for p in item["ingredients"].split(",")}
    return len(found & gold) / len(found | gold)
