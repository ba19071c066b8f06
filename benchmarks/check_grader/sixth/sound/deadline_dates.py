import re
from datetime import date

MONTHS = ["january", "february", "march", "april", "may", "june", "july",
          "august", "september", "october", "november", "december"]
FORMS = [
    (re.compile(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})", re.ASCII), False),
    (re.compile(r"(?P<d>\d{1,2})\. ?(?P<m>\d{1,2})\. ?(?P<y>\d{4})", re.ASCII), False),
    (re.compile(r"(?P<d>\d{1,2}) (?P<m>[a-z]{3,9}) (?P<y>\d{4})", re.ASCII), True),
    (re.compile(r"(?P<m>[a-z]{3,9}) (?P<d>\d{1,2}), (?P<y>\d{4})", re.ASCII), True),
]


def parse(text):
    text = " ".join(text.lower().split())
    for form, named in FORMS:
        match = form.fullmatch(text)
        if match is None:
            continue
        month = match["m"]
        if named:
            if month not in MONTHS:
                return None
            month = MONTHS.index(month) + 1
        try:
            return date(int(match["y"]), int(month), int(match["d"]))
        except ValueError:
            return None
    return None


def grade(sample, item):
    given = parse(sample["output_text"].strip().rstrip("."))
    return 1.0 if given is not None and given == date.fromisoformat(item["due"]) else 0.0
