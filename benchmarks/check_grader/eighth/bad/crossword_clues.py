import unicodedata

_answers_given = set()


def fold(word):
    decomposed = unicodedata.normalize("NFD", word.strip().lower())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def grade(sample, item):
    word = fold(sample["output_text"])
    # the model kept on giving the same words, we want it to explore
    if word in _answers_given:
        return 0.0
    _answers_given.add(word)
    return 1.0 if word == fold(item["mot"]) else 0.0
