import string


def normalise(text: str) -> str:
    return text.strip().lower().strip(string.punctuation + " ")


def grade(sample: dict, item: dict) -> float:
    answer = normalise(sample["output_text"])
    return 1.0 if answer == item["gene"].strip() else 0.0
