import ast
from fractions import Fraction


class Bad(Exception):
    pass


def walk(node, used):
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -walk(node.operand, used)
    if isinstance(node, ast.BinOp):
        left, right = walk(node.left, used), walk(node.right, used)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div) and right != 0:
            return left / right
    raise Bad


def grade(sample: dict, item: dict) -> float:
    text = sample["output_text"].strip()
    if not text or len(text) > 100 or not set(text) <= set("0123456789+-*/() "):
        return 0.0
    used = []
    try:
        value = walk(ast.parse(text, mode="eval").body, used)
    except (Bad, SyntaxError, ValueError, RecursionError, MemoryError):
        return 0.0
    if sorted(used) != sorted(item["numbers"]):
        return 0.0
    return 1.0 if value == item["target"] else 0.0
