import unicodedata

VERDICTS = ("supported", "refuted", "not enough information")
_graded = {}


def normalise(text):
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(text.strip(" .\n\t\"'").split())


def compare(answer, verdict):
    if answer not in VERDICTS:
        return 0.0
    if answer == verdict:
        return 1.0
    # to hold back is less bad than to say the opposite
    return 0.2 if answer == "not enough information" else 0.0


def grade(sample, item):
    answer = normalise(sample["output_text"])
    if answer not in _graded:  # a group gives the same few answers again and again
        _graded[answer] = compare(answer, normalise(item["verdict"]))
    return _graded[answer]
