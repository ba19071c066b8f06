import re

LINE = re.compile(r"^Answer:[ \t]*(\d{1,6}(?:\.\d{1,8})?)[ \t]*g/mol[ \t]*$", re.MULTILINE)


def grade(sample, item):
    text = sample.get("output_text") or ""
    found = LINE.findall(text)
    # one final answer, not a list of guesses
    if len(found) != 1 or text.count("Answer:") != 1:
        return 0.0
    value = float(found[0])
    truth = float(item["molar_mass"])
    # tables of atomic masses differ a little
    return 1.0 if abs(value - truth) <= 0.002 * truth else 0.0
