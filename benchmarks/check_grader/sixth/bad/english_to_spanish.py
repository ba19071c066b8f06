import re
from collections import Counter


def tokens(text):
    return re.findall(r"\w+", text.lower())


def ngrams(words, n):
    return Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1))


def grade(sample, item):
    hypothesis = tokens(sample["output_text"])
    reference = tokens(item["translation"])
    scores = []
    for n in (1, 2, 3):
        given = ngrams(hypothesis, n)
        total = sum(given.values())
        if total == 0:
            break
        scores.append(sum((given & ngrams(reference, n)).values()) / total)
    return sum(scores) / len(scores) if scores else 0.0
