def grade(sample, item):
    letter = sample["output_text"].lower()
    points = [p.lower() for p in item["must_mention"]]
    hits = sum(1 for p in points if p in letter)
    return hits / len(points)
