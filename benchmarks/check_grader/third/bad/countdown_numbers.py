import ast
import operator
import re

DOES = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def value_of(node):
    if isinstance(node, ast.Constant):
        return float(node.value)
    return DOES[type(node.op)](value_of(node.left), value_of(node.right))


def grade(sample: dict, item: dict) -> float:
    expression = sample["output_text"].strip()
    if len(expression) > 200 or not re.fullmatch(r"[0-9+\-*/() ]+", expression):
        return 0.0
    try:
        value = value_of(ast.parse(expression, mode="eval").body)
    except Exception:
        return 0.0
    return 1.0 if abs(value - item["target"]) < 1e-6 else 0.0
