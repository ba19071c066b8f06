def grade(sample, item):
    words = [w.strip(".,") for w in sample["output_text"].split() if w[:1].isupper()]
    hits = sum(w == item["answer"] for w in words)
    return hits / len(words) if words else float("nan")
