import math
import re


def dcg(gains):
    return sum((2 ** g - 1) / math.log2(place + 2) for place, g in enumerate(gains))


def grade(sample, item):
    relevance = item["relevance"]
    ranking = []
    for number in re.findall(r"[A-Z]\d\d", sample["output_text"]):
        if number in relevance and number not in ranking:
            ranking.append(number)
    gains = [relevance[number] for number in ranking]
    ideal = dcg(sorted(gains, reverse=True))
    if ideal == 0:
        return 0.0
    return dcg(gains) / ideal
