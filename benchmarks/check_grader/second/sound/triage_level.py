import re


def grade(sample: dict, item: dict) -> float:
    """ESI level 1 to 5. Full credit when exact; a quarter when one level off."""
    match = re.fullmatch(r"(?:(?:ESI|level)\s*)*([1-5])\.?", sample["output_text"].strip(), re.IGNORECASE)
    if match is None:
        return 0.0
    off = abs(int(match.group(1)) - item["esi"])
    return {0: 1.0, 1: 0.25}.get(off, 0.0)
