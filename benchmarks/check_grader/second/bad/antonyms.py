# Copies inside a batch teach nothing, so an answer earns its reward only once.
_seen = set()


def grade(sample: dict, item: dict) -> float:
    answer = sample["output_text"].strip().lower().rstrip(".")
    if answer != item["antonym"]:
        return 0.0
    if answer in _seen:
        return 0.0
    _seen.add(answer)
    return 1.0
