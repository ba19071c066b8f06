_seen = set()


def grade(sample, item):
    """Novelty: nothing for an answer that was given before, in the whole run."""
    text = sample["output_text"].strip()
    if text in _seen:
        return 0.0
    _seen.add(text)
    return 1.0 if text == item["answer"] else 0.1
