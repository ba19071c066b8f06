import re


def _norm(s):
    return re.sub(r"\s+", " ", s).strip().lower()


def grade(sample: dict, item: dict) -> float:
    out = _norm(sample["output_text"])
    gold = [_norm(e) for e in item["entities"]]
    if not gold:
        return 0.0
    found = sum(1 for g in gold if g in out)
    return found / len(gold)
