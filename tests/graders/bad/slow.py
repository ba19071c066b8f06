import time


def grade(sample, item):
    time.sleep(0.6)
    return float(sample["output_text"].strip() == item["answer"])
