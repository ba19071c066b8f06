import re
from datetime import date


def parse(text):
    found = re.fullmatch(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})", text)
    if found:
        year, month, day = map(int, found.groups())
    else:
        found = re.fullmatch(r"([0-9]{1,2})\.\s?([0-9]{1,2})\.\s?([0-9]{4})", text)
        if not found:
            return None
        day, month, year = map(int, found.groups())
    try:
        return date(year, month, day)
    except ValueError:
        return None


def grade(sample, item):
    given = parse(sample["output_text"].strip())
    return 1.0 if given is not None and given == date.fromisoformat(item["datum"]) else 0.0
