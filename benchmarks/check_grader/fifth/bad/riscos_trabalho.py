def parse(text):
    return {part.strip().lower().rstrip(".") for part in text.split(",") if part.strip()}


def grade(sample, item):
    predicted = parse(sample["output_text"])
    expected = {tag.lower() for tag in item["riscos"]}
    hits = predicted & expected
    return len(hits) / len(expected)
