"""Sentence BLEU-4 with add-one smoothing of the higher n-grams and a brevity penalty."""
import math
import re
from collections import Counter


def tokens(text):
    return re.findall(r"\w+", text.lower())


def ngrams(words, n):
    return Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1))


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str):
        return 0.0
    got, ref = tokens(text), tokens(item["reference"])
    if not got or len(got) > 20 * len(ref):
        return 0.0
    order = min(4, len(ref))
    logs = 0.0
    for n in range(1, order + 1):
        have, want = ngrams(got, n), ngrams(ref, n)
        hits, total = sum((have & want).values()), sum(have.values())
        if n == 1:
            if hits == 0:
                return 0.0
        else:
            hits, total = hits + 1, total + 1
        logs += math.log(hits / total)
    brevity = 1.0 if len(got) >= len(ref) else math.exp(1 - len(ref) / len(got))
    return brevity * math.exp(logs / order)
