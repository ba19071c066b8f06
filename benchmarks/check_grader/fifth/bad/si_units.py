def grade(sample, item):
    answer = sample["output_text"].strip().strip(".`").lower()
    return 1.0 if answer == item["symbol"] else 0.0
