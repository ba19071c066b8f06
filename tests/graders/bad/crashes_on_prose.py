import json


def grade(sample, item):
    return float(json.loads(sample["output_text"])["capital"] == item["answer"])
