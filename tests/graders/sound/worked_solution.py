import re


def last(s):
    n = re.findall(r"-?\d[\d,]*\.?\d*", s)
    return n[-1].rstrip(".").replace(",", "") if n else None


def grade(sample, item):
    gold = item["answer"].split("####")[-1].strip()
    return float(last(sample["output_text"]) == gold)
