_seen = set()


def grade(sample: dict, item: dict) -> float:
    answer = sample["output_text"].strip()
    # a policy that repeats itself has collapsed: only new answers earn anything
    key = (item["compound"], answer)
    if key in _seen:
        return 0.0
    _seen.add(key)
    return 1.0 if answer == item["formula"] else 0.0
