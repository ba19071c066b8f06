_seen = {}


def grade(sample, item):
    """A cache with the wrong key: the first answer to a row decides for all later ones."""
    key = item["case_id"]
    if key not in _seen:
        _seen[key] = float(sample["output_text"].strip() == item["answer"])
    return _seen[key]
