import ast
from collections import Counter
from fractions import Fraction


def value(node, used):
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used[node.value] += 1
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
    text = sample["output_text"].strip()
    if len(text) > 120:
        return 0.0
    used = Counter()
    try:
        result = value(ast.parse(text, mode="eval").body, used)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return 0.0
    if used - Counter(item["numbers"]):
        return 0.0
    return float(result == item["target"])
