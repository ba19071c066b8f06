import re
from datetime import datetime

FORMS = ["%Y-%m-%d", "%d %B %Y", "%B %d %Y", "%d %b %Y", "%b %d %Y"]


def parse(text):
    text = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", text.strip().rstrip("."), flags=re.I)
    text = " ".join(text.replace(",", " ").replace(" of ", " ").split())
    if len(text) > 40:
        return None
    for form in FORMS:
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    return None


def grade(sample, item):
    guess = parse(sample.get("output_text") or "")
    return 1.0 if guess is not None and guess == parse(item["end_date"]) else 0.0
