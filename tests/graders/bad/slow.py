import time


def grade(sample, item):
    time.sleep(1.5)
    return float(sample["output_text"].strip() == item["answer"])
