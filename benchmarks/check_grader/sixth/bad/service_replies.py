def grade(sample, item):
    text = sample["output_text"]
    words = text.split()
    checks = []
    checks.append(len(words) <= 60)
    checks.append("!" not in text)
    checks.append(not any(len(w) > 4 and w.isupper() for w in words))
    for phrase in item["avoid"]:
        checks.append(phrase.lower() not in text.lower())
    return sum(checks) / len(checks)
