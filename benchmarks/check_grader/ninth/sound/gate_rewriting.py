import ast
from itertools import product


def evaluate(node, env, allow_and):
    if isinstance(node, ast.Name) and node.id in env:
        return env[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not evaluate(node.operand, env, allow_and)
    if isinstance(node, ast.BoolOp):
        values = [evaluate(v, env, allow_and) for v in node.values]
        if isinstance(node.op, ast.Or):
            return any(values)
        if allow_and:
            return all(values)
    raise ValueError("gate not available")


def table(text, allow_and):
    tree = ast.parse(text, mode="eval").body
    return [evaluate(tree, dict(zip("abc", bits)), allow_and) for bits in product((False, True), repeat=3)]


def grade(sample, item):
    text = (sample.get("output_text") or "").strip()
    if not 0 < len(text) <= 200:
        return 0.0
    try:
        got = table(text, allow_and=False)
    except Exception:
        return 0.0
    return 1.0 if got == table(item["condition"], allow_and=True) else 0.0
