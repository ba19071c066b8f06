"""A job that runs a test file against a program in another process, and counts what passes.

A file may hold `unittest` classes, functions `test_*` without arguments, a function `check(candidate)`, or plain
statements, which together are one test. The program is `import solution`.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from typing import Any

from rft_grader_python.sandbox.remote import Link, SolutionModule
from rft_grader_python.sandbox.run_grade import Function, describe

FILE = "tests.py"
MAX_FAILURES_SHOWN = 5


class TestsError(Exception):
    """The tests themselves are wrong: the row's fault, not the program's."""


def runner(peer: int) -> Function:
    """A function like `grade`: `sample` is `{"tests", "entry_point", "time_s"}`, the result a score with details."""

    def run(sample: Any, item: Any) -> object:
        link = Link(peer, sample["time_s"])
        code = _compiled(sample["tests"])
        sys.modules["solution"] = SolutionModule(link)
        failures: list[dict[str, str]] = []
        try:
            link.start()
        except BaseException as error:  # noqa: BLE001  # the program cannot be loaded
            if not link.flags:
                link.flag("load_failures")
            failures.append({"test": "import solution", "error": describe(error)})
            return _result(0, 1, link, failures)
        passed = total = 0
        for name, test in _tests(code, sample["tests"], sample.get("entry_point")):
            total += 1
            try:
                test()
            except unittest.SkipTest:
                total -= 1
            except TestsError:
                raise
            except BaseException as error:  # noqa: BLE001  # a failed test, whatever it raises
                failures.append({"test": name, "error": describe(error)})
            else:
                passed += 1
        return _result(passed, total, link, failures)

    return run


def _result(passed: int, total: int, link: Link, failures: list[dict[str, str]]) -> dict[str, object]:
    if total == 0:
        raise TestsError("the tests ran nothing: all are skipped, or a check(candidate) lacks its entry_point")
    details = {"failures": failures[:MAX_FAILURES_SHOWN]} if failures else {}
    counts = {"tests_passed": passed, "tests_total": total, **link.flags}
    return {"score": passed / total, "metrics": counts, "details": details}


def _compiled(text: str) -> types.CodeType:
    try:
        return compile(text, FILE, "exec")
    except (SyntaxError, ValueError) as error:
        raise TestsError(f"the tests cannot be compiled: {error}") from None


def _tests(code: types.CodeType, text: str, entry_point: str | None) -> Iterator[tuple[str, Callable[[], object]]]:
    """The tests of a file, by name. The file itself runs first; if it fails, that is the only test."""
    linecache.cache[FILE] = (len(text), None, text.splitlines(keepends=True), FILE)
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    try:
        exec(code, vars(module))  # noqa: S102  # the tests of the row, caged like the program
    except BaseException as error:  # noqa: BLE001
        failed = error

        def fail() -> None:
            raise failed

        yield FILE, fail
        return
    found = list(_unittests(module)) + list(_functions(module, entry_point))
    if found:
        yield from found
    elif _has_statements(text):
        yield FILE, lambda: None  # it ran to its end


def _unittests(module: types.ModuleType) -> Iterator[tuple[str, Callable[[], object]]]:
    suites: list[Any] = [unittest.defaultTestLoader.loadTestsFromModule(module)]
    while suites:
        case = suites.pop(0)
        if isinstance(case, unittest.TestSuite):
            suites[:0] = list(case)
            continue
        yield case.id().removeprefix("tests."), _one(case)


def _one(case: unittest.TestCase) -> Callable[[], object]:
    def run() -> None:
        result = unittest.TestResult()
        case.run(result)
        if result.skipped:
            raise unittest.SkipTest(result.skipped[0][1])
        if not result.wasSuccessful():
            text = [t for _, t in result.failures + result.errors] or ["it passes where a failure was expected"]
            raise AssertionError(text[0].strip().splitlines()[-1])

    return run


def _functions(module: types.ModuleType, entry_point: str | None) -> Iterator[tuple[str, Callable[[], object]]]:
    for name, value in list(vars(module).items()):
        if name.startswith("test_") and inspect.isfunction(value) and not inspect.signature(value).parameters:
            yield name, value
    check = getattr(module, "check", None)
    if entry_point and inspect.isfunction(check):
        yield "check", lambda: check(getattr(sys.modules["solution"], entry_point))


def _has_statements(text: str) -> bool:
    quiet = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    body = [n for n in ast.parse(text).body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return any(not isinstance(node, quiet) for node in body)
