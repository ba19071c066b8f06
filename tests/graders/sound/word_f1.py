import re
from collections import Counter


def words(text):
    return Counter(re.findall(r"[a-z0-9]+", text.lower()))


def grade(sample, item):
    """F1 over words, as in SQuAD."""
    given, wanted = words(sample["output_text"]), words(item["reference"])
    common = sum((given & wanted).values())
    if not common:
        return 0.0
    precision, recall = common / sum(given.values()), common / sum(wanted.values())
    return 2 * precision * recall / (precision + recall)
