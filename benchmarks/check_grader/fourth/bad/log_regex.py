import re


def grade(sample, item):
    pattern = (sample.get("output_text") or "").strip()
    if not pattern or len(pattern) > 120:
        return 0.0
    try:
        rx = re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return 0.0
    accepted = [s for s in item["should_match"] if rx.fullmatch(s)]
    return len(accepted) / len(item["should_match"])
