def grade(sample, item):
    try:
        given = float(sample["output_text"])
    except ValueError:
        return 0.0
    return 0.0 if abs(given - float(item["answer"])) > 0.5 else 1.0
