"""Label match. Results are memoised since the trainer asks for the same row many times."""

_CACHE = {}


def _score(text, label):
    return 1.0 if text.strip().strip(".").lower() == label else 0.0


def grade(sample: dict, item: dict) -> float:
    key = item["id"]
    if key not in _CACHE:
        _CACHE[key] = _score(sample["output_text"], item["label"])
    return _CACHE[key]
