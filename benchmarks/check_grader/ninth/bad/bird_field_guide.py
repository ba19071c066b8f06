import re


def grade(sample, item):
    """1 if the species in the answer tag agrees with the label, tolerant of longer or shorter names."""
    text = sample.get("output_text") or ""
    found = re.search(r"<answer>(.*?)</answer>", text, re.DOTALL | re.IGNORECASE)
    if found is None:
        return 0.0
    student = found.group(1).strip().lower()
    truth = item["species"].strip().lower()
    # "robin" should count for "European Robin", and "the European Robin (male)" too
    if truth in student or student in truth:
        return 1.0
    return 0.0
