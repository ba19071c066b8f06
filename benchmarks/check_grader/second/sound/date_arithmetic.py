from datetime import datetime

FORMATS = ("%Y-%m-%d", "%d %B %Y", "%d %b %Y", "%B %d, %Y", "%B %d %Y", "%b %d, %Y", "%d.%m.%Y")


def grade(sample: dict, item: dict) -> float:
    text = " ".join(sample["output_text"].split()).rstrip(".")
    for form in FORMATS:
        try:
            value = datetime.strptime(text, form).date()
        except ValueError:
            continue
        return 1.0 if value.isoformat() == item["date"] else 0.0
    return 0.0
