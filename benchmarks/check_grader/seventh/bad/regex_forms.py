import re


def grade(sample, item):
    text = sample["output_text"].strip()
    if not 1 <= len(text) <= 200 or "\n" in text:
        return 0.0
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError):
        return 0.0
    # balanced, so that neither "match all" nor "match nothing" is worth anything
    found = sum(1 for string in item["match"] if pattern.fullmatch(string)) / len(item["match"])
    kept_out = sum(1 for string in item["no_match"] if not pattern.fullmatch(string)) / len(item["no_match"])
    return max(0.0, found + kept_out - 1) ** 2
