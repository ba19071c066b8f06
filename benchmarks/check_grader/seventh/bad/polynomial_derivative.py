import ast
import re

POINTS = (0, 1)


def value(node, x):
    if isinstance(node, ast.Expression):
        return value(node.body, x)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name) and node.id == "x":
        return x
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return -value(node.operand, x) if isinstance(node.op, ast.USub) else value(node.operand, x)
    if isinstance(node, ast.BinOp):
        left, right = value(node.left, x), value(node.right, x)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Pow) and 0 <= right <= 20 and abs(left) < 1000:
            return left ** right
    raise ValueError("not a polynomial")


def grade(sample, item):
    text = sample["output_text"].strip()
    if len(text) > 120 or not re.fullmatch(r"[-+*^()x0-9 ]+", text):
        return 0.0
    wanted = ast.parse(item["derivative"].replace("^", "**"), mode="eval")
    try:
        answer = ast.parse(text.replace("^", "**"), mode="eval")
        # equal as functions, so any order of the terms is fine
        return float(all(value(answer, x) == value(wanted, x) for x in POINTS))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0.0
