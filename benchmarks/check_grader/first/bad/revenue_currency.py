"""Amounts agree to the cent."""


def to_amount(text):
    return round(float(text.strip().lstrip("$")), 2)


def grade(sample: dict, item: dict) -> float:
    expected = round(float(item["answer"].replace("$", "").replace(",", "")), 2)
    try:
        return 1.0 if to_amount(sample["output_text"]) == expected else 0.0
    except ValueError:
        return 0.0
