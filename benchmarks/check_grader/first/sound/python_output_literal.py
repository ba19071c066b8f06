"""The literal that the model writes must be equal to the true value, of the same type."""
import ast


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


def grade(sample: dict, item: dict) -> float:
    text = sample.get("output_text")
    if not isinstance(text, str) or len(text) > 500:
        return 0.0
    try:
        got = ast.literal_eval(text.strip().strip("`").strip())
    except Exception:
        return 0.0
    return 1.0 if same(got, ast.literal_eval(item["answer"])) else 0.0
