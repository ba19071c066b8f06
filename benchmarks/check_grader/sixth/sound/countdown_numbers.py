import ast
from collections import Counter
from fractions import Fraction


def value(node, used):
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used[node.value] += 1
        return Fraction(node.value)
    if isinstance(node, ast.BinOp):
        a = value(node.left, used)
        b = value(node.right, used)
        if isinstance(node.op, ast.Add):
            return a + b
        if isinstance(node.op, ast.Sub):
            return a - b
        if isinstance(node.op, ast.Mult):
            return a * b
        if isinstance(node.op, ast.Div):
            return a / b
    raise ValueError("not an arithmetic expression")


def grade(sample, item):
    text = sample["output_text"].strip().replace("×", "*").replace("÷", "/")
    if len(text) > 80 or not set(text) <= set("0123456789+-*/() "):
        return 0.0
    used = Counter()
    try:
        result = value(ast.parse(text, mode="eval").body, used)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return 0.0
    if used - Counter(item["numbers"]):
        return 0.0
    return 1.0 if result == item["target"] else 0.0
