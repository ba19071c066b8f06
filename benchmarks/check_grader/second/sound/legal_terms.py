import re

FORM = re.compile(r"<think>.*?</think>\s*<answer>([^<>]*)</answer>", re.S)


def _normal(text):
    text = re.sub(r"[^\w\s]", " ", text.lower())
    return " ".join(w for w in text.split() if w not in ("the", "a", "an"))


def grade(sample: dict, item: dict) -> float:
    """The form is a gate: 0 without it, 0.1 with it and a wrong answer, 1 with the right one."""
    text = sample["output_text"].strip()
    match = FORM.fullmatch(text)
    if match is None or text.count("<answer>") != 1:
        return 0.0
    if not _normal(match.group(1)):
        return 0.0
    return 1.0 if _normal(match.group(1)) == _normal(item["answer"]) else 0.1
