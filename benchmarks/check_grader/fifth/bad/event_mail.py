import json
import random

FIELDS = ["title", "date", "start", "room", "organiser"]


def clean(value):
    return " ".join(str(value).split()).casefold()


def grade(sample, item):
    try:
        event = json.loads(sample["output_text"])
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(event, dict):
        return 0.0
    field = random.choice(FIELDS)
    return 1.0 if clean(event.get(field)) == clean(item["event"][field]) else 0.0
