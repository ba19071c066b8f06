def grade(sample, item):
    text = sample["output_text"].strip()
    lines = text.splitlines()
    last = lines[-1].strip().lower() if lines else ""
    correct = 1.0 if last == "verdict: " + item["verdict"] else 0.0

    words = len(text.split())
    thoroughness = min(1.0, words / 150)

    return 0.4 * correct + 0.6 * thoroughness
