import re

LINE = re.compile(r"^Answer:\s*([+-]?\d{1,9}(?:\.\d{1,9})?)\s*kW\.?\s*$", re.M | re.ASCII)


def grade(sample, item):
    text = (sample.get("output_text") or "").strip()
    answers = re.findall(r"^Answer:", text, re.M)
    found = LINE.search(text)
    if found is None or len(answers) != 1 or found.end() != len(text):
        return 0.0
    expected = float(item["power_kw"])
    error = abs(float(found.group(1)) - expected)
    return 1.0 if error <= 0.01 * abs(expected) else 0.0
