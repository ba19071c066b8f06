from datetime import datetime

FORMS = ("%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%d.%m.%Y")


def grade(sample, item):
    for form in FORMS:
        try:
            given = datetime.strptime(sample["output_text"].strip(), form)
        except ValueError:
            continue
        return float(given.strftime("%Y-%m-%d") == item["target"]["date"])
    return 0.0
