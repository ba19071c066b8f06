"""What can be said of a grader's source without running it."""

from __future__ import annotations

import ast
import warnings

from rft_core.errors import nearest

EXECUTES = ("exec", "eval", "compile")


def check_source(source: str) -> None:
    """ValueError, with the line, unless the source compiles and defines `grade` with two positional arguments."""
    tree = _parsed(source)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    found = [f for f in functions if f.name == "grade"]
    if not found:
        if "grade" in _assigned(tree):
            return  # such as `grade = make_grader()`: what it takes shows when it is loaded
        names = [f.name for f in functions]
        raise ValueError(
            f"the source defines no function grade(sample, item){nearest('grade', names) if names else ''}"
        )
    function = found[-1]
    where = f"line {function.lineno}: "
    if isinstance(function, ast.AsyncFunctionDef):
        raise ValueError(f"{where}grade is asynchronous; write it as a plain function")
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    keywords = [d for d in arguments.kw_defaults if d is None]
    if required > 2 or (len(positional) < 2 and not arguments.vararg) or keywords:
        raise ValueError(
            f"{where}grade must take two positional arguments, (sample, item); it takes ({_shown(arguments)})"
        )


def _parsed(source: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the source: such as an invalid escape
            tree = ast.parse(source)
            compile(source, "grader.py", "exec")  # what the grammar allows and the compiler does not
    except SyntaxError as error:
        raise ValueError(f"the source cannot be compiled: line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the source cannot be compiled: {error or type(error).__name__}") from None
    return tree


def _assigned(tree: ast.Module) -> set[str]:
    """Names that top-level statements other than functions may define."""
    names = {n.id for s in tree.body for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    names |= {a.asname or a.name for s in ast.walk(tree) if isinstance(s, ast.ImportFrom) for a in s.names}
    names |= {
        f.name
        for s in tree.body
        if not isinstance(s, ast.FunctionDef)
        for f in ast.walk(s)
        if isinstance(f, ast.FunctionDef)
    }
    return names


def _shown(arguments: ast.arguments) -> str:
    return ast.unparse(ast.fix_missing_locations(arguments))


def imported_modules(source: str) -> tuple[str, ...]:
    """Modules that the source imports anywhere, in functions too, in the order of the text."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.lineno, node.module))
    return tuple(dict.fromkeys(name for _, name in sorted(found)))


def executed_in_process(source: str) -> list[str]:
    """The calls of `exec`, `eval` and `compile` in a source, as `exec (line 3)`."""
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    return [f"{n.func.id} (line {n.lineno})" for n in calls if isinstance(n.func, ast.Name) and n.func.id in EXECUTES]
