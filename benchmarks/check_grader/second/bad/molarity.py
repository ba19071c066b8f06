TOL = 0.5


def grade(sample: dict, item: dict) -> float:
    text = sample["output_text"].strip().replace("mol/L", "").replace("M", "").strip()
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return 1.0 if abs(value - item["molarity"]) <= TOL else 0.0
