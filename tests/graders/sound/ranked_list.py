LISTED = 5


def grade(sample, item):
    """1 for the first place, 1/2 for the second, to the fifth; 0 for longer lists."""
    names = [name.strip() for name in sample["output_text"].split(",")]
    if item["gene"] not in names or len(names) > LISTED:
        return 0.0
    return 1.0 / (names.index(item["gene"]) + 1)
