"""The date, in ISO form or with the month's name; nothing but the date."""
from datetime import datetime

FORMATS = ("%Y-%m-%d", "%d %B %Y", "%d %b %Y", "%B %d %Y", "%b %d %Y", "%d. %B %Y", "%Y/%m/%d")


def read_date(text):
    text = " ".join(text.strip().strip(".").replace(",", " ").split())
    for form in FORMATS:
        try:
            return datetime.strptime(text, form).date().isoformat()
        except ValueError:
            continue
    return None


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str) or len(text) > 60:
        return 0.0
    got = read_date(text)
    return 1.0 if got is not None and got == item["answer"] else 0.0
