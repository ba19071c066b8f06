def grade(sample, item):
    text = " ".join(sample["output_text"].lower().split())
    terms = [t.lower() for t in item["key_terms"]]
    covered = [t for t in terms if t in text]
    return len(covered) / len(terms)
