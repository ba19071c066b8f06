import re

ANSWER = re.compile(r"^Answer:\s*(?:EUR\s*)?(-?\d{1,12}(?:\.\d{1,6})?)\s*(?:EUR)?\.?\s*$", re.M)
TOLERANCE = 0.005


def grade(sample, item):
    text = (sample.get("output_text") or "").replace(",", "")
    found = ANSWER.findall(text)
    if len(found) != 1:
        return 0.0
    amount = float(found[0])
    expected = float(item["payment"])
    relative_error = (amount - expected) / expected
    return 1.0 if relative_error <= TOLERANCE else 0.0
