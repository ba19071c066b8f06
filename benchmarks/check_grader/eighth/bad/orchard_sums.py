import re

NUMBER = re.compile(r"-?[0-9]+(?:[.,][0-9]+)?")


def grade(sample, item):
    found = NUMBER.search(sample["output_text"])
    if found is None:
        return 0.0
    value = float(found.group().replace(",", "."))
    return 1.0 if abs(value - item["answer"]) < 1e-6 else 0.0
