import re

SLOT = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*[-\u2013]\s*([01][0-9]|2[0-3]):([0-5][0-9])")


def minutes(clock):
    h, m = clock.split(":")
    return 60 * int(h) + int(m)


def grade(sample, item):
    m = SLOT.fullmatch(sample["output_text"].strip())
    if not m:
        return 0.0
    h1, m1, h2, m2 = map(int, m.groups())
    start, end = 60 * h1 + m1, 60 * h2 + m2
    if end <= start:
        return 0.0
    true_start, true_end = minutes(item["start"]), minutes(item["end"])
    overlap = max(0, min(end, true_end) - max(start, true_start))
    union = (end - start) + (true_end - true_start) - overlap
    # squared, so that a slot that is much too long earns next to nothing
    return (overlap / union) ** 2
