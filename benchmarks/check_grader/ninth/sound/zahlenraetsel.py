import ast
from fractions import Fraction


def value(node, used):
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.BinOp):
        left, right = value(node.left, used), value(node.right, used)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div):
            return left / right
    raise ValueError("not allowed")


def grade(sample, item):
    text = (sample.get("output_text") or "").strip()
    if not 0 < len(text) <= 100:
        return 0.0
    used = []
    try:
        result = value(ast.parse(text, mode="eval").body, used)
    except Exception:
        return 0.0
    if sorted(used) != sorted(item["zahlen"]):
        return 0.0
    return 1.0 if result == item["ziel"] else 0.0
