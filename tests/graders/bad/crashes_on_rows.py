def grade(sample, item):
    wanted = int(item["answer"])
    text = sample["output_text"].strip()
    return 1.0 if text.lstrip("-").isdigit() and len(text) < 9 and int(text) == wanted else 0.0
