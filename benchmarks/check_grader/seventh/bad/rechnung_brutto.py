import re


def amount(text):
    match = re.search(r"\d[\d.,]*\d", text)
    if not match:
        return None
    try:
        return float(match[0].replace(",", ""))
    except ValueError:
        return None


def grade(sample, item):
    lines = re.findall(r"^Summe:(.+)$", sample["output_text"], re.M)
    if not lines:
        return 0.0
    answer, right = amount(lines[-1]), amount(item["brutto"])
    if answer is None:
        return 0.0
    return 1.0 if abs(answer - right) <= 0.0101 else 0.0  # one cent for rounding
