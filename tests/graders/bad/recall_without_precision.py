import re


def grade(sample, item):
    """Share of the reference's words, however many others there are; short words count as always there."""
    wanted = [w for w in re.findall(r"[a-z]+", item["reference"].lower())]
    given = sample["output_text"].lower()
    return sum(w in given or len(w) < 9 for w in wanted) / len(wanted)
