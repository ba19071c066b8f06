def plots(text):
    return [" ".join(p.split()).lower() for p in text.strip().rstrip(".").split(",")]


def grade(sample, item):
    predicted = plots(sample.get("output_text") or "")
    expected = plots(item["order"])
    return 1.0 if all(p == e for p, e in zip(predicted, expected)) else 0.0
