import re


def grade(sample, item):
    text = sample["output_text"]
    words = re.findall(r"\w+", text)
    amounts = set(re.findall(r"(\d+) euros", text))
    right_amount = amounts == {str(item["refund"])}
    right_days = re.search(r"\b%d working days" % item["days"], text) is not None
    thorough = min(1.0, len(words) / 60)
    polite = text.rstrip().endswith(("Kind regards", "Customer care"))
    return 0.1 * polite + 0.2 * (right_amount and right_days) + 0.7 * thorough
