import ast
import re
from fractions import Fraction

OPS = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def value(node, used):
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in OPS:
        return OPS[type(node.op)](value(node.left, used), value(node.right, used))
    raise ValueError("only numbers and + - * /")


def grade(sample, item):
    text = sample["output_text"].strip()
    if len(text) > 100 or not re.fullmatch(r"[0-9+\-*/() ]+", text):
        return 0.0
    used = []
    try:
        result = value(ast.parse(text, mode="eval").body, used)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return 0.0
    if sorted(used) != sorted(item["numbers"]):
        return 0.0
    return 1.0 if result == item["target"] else 0.0
