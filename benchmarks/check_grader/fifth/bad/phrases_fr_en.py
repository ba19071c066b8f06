import re
from collections import Counter


def tokens(text):
    return re.findall(r"[a-z0-9']+", text.lower())


def grade(sample, item):
    hyp = Counter(tokens(sample["output_text"]))
    ref = Counter(tokens(item["reference"]))
    total = sum(hyp.values())
    if total == 0:
        return 0.0
    # clipped unigram overlap, as in BLEU-1
    overlap = sum(min(n, ref[w]) for w, n in hyp.items())
    return overlap / total
