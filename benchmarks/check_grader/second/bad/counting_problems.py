import re

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def grade(sample: dict, item: dict) -> float:
    """The model may explain its steps; find the right value among the numbers of the answer."""
    gold = float(item["answer"])
    numbers = [float(n) for n in NUMBER.findall(sample["output_text"])]
    return 1.0 if any(abs(n - gold) < 1e-6 for n in numbers) else 0.0
