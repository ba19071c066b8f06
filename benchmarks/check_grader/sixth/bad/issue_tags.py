def grade(sample, item):
    expected = {t.lower() for t in item.get("labels", [])}
    text = sample["output_text"].lower()
    found = {t.strip() for t in text.split(",") if t.strip()}
    if not expected:
        return 1.0
    return len(expected & found) / len(expected | found)
