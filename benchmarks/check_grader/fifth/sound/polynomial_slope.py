import ast
from fractions import Fraction

POINTS = [Fraction(p, q) for p, q in [(-7, 2), (-2, 1), (-1, 3), (1, 5), (1, 1), (3, 2), (4, 1), (13, 3), (9, 1), (21, 2)]]


def bits(v):
    return v.numerator.bit_length() + v.denominator.bit_length()


def value(node, x):
    if isinstance(node, ast.Name) and node.id == "x":
        return x
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value)
    if isinstance(node, ast.UnaryOp):
        inner = value(node.operand, x)
        if isinstance(node.op, ast.USub):
            return -inner
        if isinstance(node.op, ast.UAdd):
            return inner
    if isinstance(node, ast.BinOp):
        a, b = value(node.left, x), value(node.right, x)
        if isinstance(node.op, ast.Add):
            return a + b
        if isinstance(node.op, ast.Sub):
            return a - b
        if isinstance(node.op, ast.Mult):
            return a * b
        if isinstance(node.op, ast.Div):
            return a / b
        if isinstance(node.op, ast.Pow):
            if b.denominator != 1 or not 0 <= b <= 20 or bits(a) * b > 4000:
                raise ValueError("power out of range")
            return a ** int(b)
    raise ValueError("not a polynomial expression")


def grade(sample, item):
    text = sample["output_text"].strip()
    if not text or len(text) > 200:
        return 0.0
    gold = ast.parse(item["derivative"].replace("^", "**"), mode="eval").body
    try:
        tree = ast.parse(text.replace("^", "**"), mode="eval").body
        for x in POINTS:
            if value(tree, x) != value(gold, x):
                return 0.0
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return 0.0
    return 1.0
