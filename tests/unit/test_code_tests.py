"""The grader `code_tests`: programs against pairs and test files, in real processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rft_core import BuildContext, Grade, Grader, Group, Item, Rollout
from rft_core.errors import ConfigError
from rft_core.registry import Registry
from rft_core.types import Outcome
from rft_grader_python.programs import Pair, last_block, read_tests, same_output

REGISTRY = Registry.discover()
SUM = [{"input": "1 2\n", "output": "3\n"}, {"input": "4 5", "output": "9"}]
GOOD = "a, b = map(int, input().split())\nprint(a + b)"


def build(**settings: Any) -> Grader:
    config = {"type": "code_tests", "tests": "{{item.tests}}", "timeout_s": 3, **settings}
    grader: Grader = REGISTRY.build("grader", config, BuildContext(base_dir=Path()))
    return grader


def ask(grader: Grader, text: str, tests: Any, **row: Any) -> Grade:
    rollout = Rollout(ordinal=0, sample=0, seed=0, segments=(), text=text, finish_reason="stop")
    row = {"tests": tests, **row}
    (grade,) = grader.grade(Group(ordinal=0, item=Item(key="i", index=0, row=row), rollouts=(rollout,)))
    return grade


@pytest.fixture(scope="module", params=["auto", "landlock"])
def grader(request: pytest.FixtureRequest) -> Iterator[Grader]:
    """In the strongest tier here and in the weakest."""
    built = build(sandbox=request.param)
    yield built
    built.close()


def test_pairs(grader: Grader) -> None:
    """A right program passes all pairs, from a code block or bare; one that is right once passes one."""
    assert ask(grader, f"Here:\n```python\n{GOOD}\n```\nDone.", SUM).reward == 1.0
    assert ask(grader, GOOD, SUM).reward == 1.0
    half = ask(grader, "print(3)", SUM)
    assert half.reward == 0.5
    assert half.metrics == {"tests_passed": 1.0, "tests_total": 2.0, "wrong_outputs": 1.0}
    assert half.details["failures"] == [{"test": 1, "printed": "3\n", "stderr": "", "ended": "wrong_outputs"}]


@pytest.mark.parametrize(
    ("program", "flag"),
    [
        ("1 / 0", "crashes"),
        ("import sys\nsys.exit(3)", "crashes"),
        ("import sys\nsys.exit(0)", "wrong_outputs"),
        ("import os\nos._exit(0)", "wrong_outputs"),
        ("import atexit, os\natexit.register(os._exit, 0)", "wrong_outputs"),
        ("import ctypes\nctypes.string_at(0)", "crashes"),
        ("import os\nos.kill(os.getpid(), 11)\nos.abort()", "crashes"),
        ("raise KeyboardInterrupt", "crashes"),
        ("def f(): return f()\nf()", "crashes"),
        ("b = bytearray(3 << 30)", "crashes"),
        ("while True: print('x' * 100000)", "over_output_limit"),
        ("print(open('/proc/self/status').read())", "crashes"),
        ("import unittest\nunittest.main = lambda: 0\nprint(unittest.main())", "wrong_outputs"),
    ],
)
def test_a_bad_end_is_the_programs_fault(program: str, flag: str, grader: Grader) -> None:
    """Whatever a program does to itself scores 0 and is counted by name; it is never the grader's error."""
    grade = ask(grader, program, SUM)
    assert (grade.outcome, grade.reward) == (Outcome.SCORE, 0.0)
    assert grade.metrics[flag] == 2


def test_a_program_that_hangs(grader: Grader) -> None:
    """Time is counted against the program, and its threads and children end with it."""
    text = "import threading\nwhile True: pass"
    one = [SUM[0]]
    quick = build(timeout_s=0.3)
    assert ask(quick, text, one).metrics["time_outs"] == 1
    quick.close()


def test_the_program_does_not_see_what_is_expected(grader: Grader) -> None:
    """Nothing in the process of a program holds the expected output: neither its memory nor its descriptors."""
    program = """
import gc, os
found = [o for o in gc.get_objects() if isinstance(o, (str, bytes)) and 'expected-mark' in str(o)]
texts = [o for d in gc.get_objects() if isinstance(d, dict) for o in d.values() if isinstance(o, str) and o.startswith('expected-')]
fds = []
for fd in range(3, 256):
    try: os.fstat(fd); fds.append(fd)
    except OSError: pass
print(len(found), [t for t in texts if 'mark' in t and len(t) == 13], fds)
"""
    grade = ask(grader, program, [{"input": "", "output": "0 [] []"}])
    assert grade.reward == 1.0, grade


def test_no_program(grader: Grader) -> None:
    """A completion without a program that compiles is an invalid sample, not a crash of the grader."""
    for text in ("def f(:", "", "```python\n```", "a b c"):
        grade = ask(grader, text, SUM)
        assert (grade.outcome, grade.reward, grade.error_kind) == (Outcome.SAMPLE_INVALID, 0.0, "sample_parse_error")
        assert grade.metrics == {"does_not_compile": 1.0}


@pytest.mark.parametrize(
    "tests",
    [
        None,
        [],
        7,
        "",
        [{"input": "x"}],
        [{"input": 1, "output": "x"}],
        ["x"],
        "import solution\ndef f(): pass",
        "import (",
    ],
)
def test_bad_tests_are_the_graders_error(tests: Any, grader: Grader) -> None:
    """What a row lacks is not the sample's fault."""
    assert ask(grader, GOOD, tests).outcome is Outcome.GRADER_ERROR


def test_missing_tests(grader: Grader) -> None:
    """A row without the key is an error of the data, by its kind of the contract."""
    rollout = Rollout(ordinal=0, sample=0, seed=0, segments=(), text=GOOD, finish_reason="stop")
    (grade,) = grader.grade(Group(ordinal=0, item=Item(key="i", index=0, row={}), rollouts=(rollout,)))
    assert (grade.outcome, grade.error_kind) == (Outcome.GRADER_ERROR, "invalid_variable_error")


def test_all_or_nothing_and_exact() -> None:
    """score: all gives no part of a point; compare: exact counts every character."""
    strict = build(score="all", compare="exact")
    assert ask(strict, "print(3)", SUM).reward == 0.0
    assert ask(strict, GOOD, [SUM[0]]).reward == 1.0
    assert ask(strict, GOOD, SUM).reward == 0.0
    strict.close()


UNITTEST = """
import unittest
import solution
from solution import add

class AddTest(unittest.TestCase):
    def test_small(self):
        self.assertEqual(add(1, 2), 3)
    def test_text(self):
        self.assertEqual(solution.add("a", "b"), "ab")
    def test_wrong(self):
        with self.assertRaises(TypeError):
            add(1, "b")
    @unittest.skip("later")
    def test_later(self):
        raise RuntimeError
"""


def test_unittest_file(grader: Grader) -> None:
    """Each test method counts once, a skipped one not at all."""
    grade = ask(grader, "def add(a, b):\n    return a + b", UNITTEST)
    assert (grade.reward, grade.metrics) == (1.0, {"tests_passed": 3.0, "tests_total": 3.0})
    grade = ask(grader, "def add(a, b):\n    return 3", UNITTEST)
    assert grade.reward == pytest.approx(1 / 3)
    assert {f["test"] for f in grade.details["failures"]} == {"AddTest.test_text", "AddTest.test_wrong"}


def test_functions_statements_and_check(grader: Grader) -> None:
    """Functions, bare asserts, and a check(candidate) with the entry point of the row."""
    code = "def add(a, b):\n    return a + b"
    functions = "import solution\ndef test_a():\n    assert solution.add(1, 1) == 2\ndef test_b():\n    assert solution.add(1, 1) == 3\n"
    assert ask(grader, code, functions).reward == 0.5
    assert ask(grader, code, "from solution import *\nassert add(2, 2) == 4").reward == 1.0
    assert ask(grader, code, "from solution import *\nassert add(2, 2) == 5").reward == 0.0
    check = "def check(candidate):\n    assert candidate(1, 2) == 3\n"
    named = build(entry_point="{{item.entry_point}}")
    assert ask(named, code, check, entry_point="add").reward == 1.0
    assert ask(named, code, check, entry_point="missing").reward == 0.0
    named.close()


def test_values_cross(grader: Grader) -> None:
    """Plain data, numpy, objects of the program, exceptions of its own, changed arguments and callbacks."""
    code = """
import collections, decimal, fractions, numpy
class Error(ValueError): pass
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x); return self
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __eq__(self, other): return isinstance(other, Stack) and self.items == other.items
    def __add__(self, other): s = Stack(); s.items = self.items + other.items; return s
    def __enter__(self): return self
    def __exit__(self, *a): return False
    def __mul__(self, n): s = Stack(); s.items = self.items * n; return s
def same(x): return x
def fail(): raise Error("no")
def sort(xs): xs.sort()
def apply(f, x): return f(f(x))
def count(n):
    for i in range(n): yield i
Point = collections.namedtuple("Point", "x y")
def point(): return Point(1, 2)
import enum
class Color(enum.IntEnum): RED = 1
class Rows(list): pass
def rows(): return Rows([1])
def table(): return collections.Counter("aab"), collections.OrderedDict(a=1), collections.defaultdict(list, b=[1])
def array(): return numpy.arange(3), numpy.float64(0.5)
LIMIT = 7
"""
    tests = """
import decimal, fractions, math, unittest
import numpy
import solution
from solution import Stack, Error
class Values(unittest.TestCase):
    def test_plain(self):
        for value in (None, True, 3, 2**70, -1.5, float("inf"), "é", b"x", (1, [2, {3: {4}}]), frozenset({1}), 1j,
                      decimal.Decimal("1.5"), fractions.Fraction(1, 3), range(3), {"a": None, 1: (2,)}):
            back = solution.same(value)
            self.assertEqual(back, value)
            self.assertIs(type(back), type(value))
        self.assertTrue(math.isnan(solution.same(float("nan"))))
        self.assertEqual(solution.LIMIT, 7)
        self.assertEqual(solution.point(), (1, 2))
        self.assertEqual(solution.table(), ({"a": 2, "b": 1}, {"a": 1}, {"b": [1]}))
        numpy.testing.assert_array_equal(solution.array()[0], [0, 1, 2])
    def test_objects(self):
        s = Stack()
        s.push(1).push(2)
        self.assertEqual(len(s), 2)
        self.assertEqual(list(s), [1, 2])
        self.assertEqual(s.pop(), 2)
        self.assertEqual(s, Stack().push(1))
        self.assertEqual(list(s + s), [1, 1])
        self.assertEqual(list(s * 2), [1, 1])
        self.assertLess(solution.Color.RED, 2)
        self.assertAlmostEqual(solution.Color.RED - 0.5, 0.5)
        self.assertIsInstance(s, Stack)
        self.assertEqual(list(solution.count(3)), [0, 1, 2])
        self.assertEqual(solution.Color.RED, 1)
        self.assertNotEqual(solution.Color.RED, 2)
        self.assertEqual(solution.Color.RED.name, "RED")
        self.assertEqual(solution.rows(), [1])
        with Stack() as t:
            t.items = [5]
        self.assertEqual(t.items, [5])
    def test_errors(self):
        with self.assertRaises(Error): solution.fail()
        with self.assertRaisesRegex(ValueError, "no"): solution.fail()
        with self.assertRaises(AttributeError): solution.missing
    def test_changed_arguments(self):
        xs = [3, 1, 2]
        solution.sort(xs)
        self.assertEqual(xs, [1, 2, 3])
    def test_callbacks(self):
        self.assertEqual(solution.apply(lambda x: x + 1, 1), 3)
        with self.assertRaises(ZeroDivisionError): solution.apply(lambda x: 1 / 0, 1)
"""
    grade = ask(grader, code, tests)
    assert grade.reward == 1.0, grade


ORACLES = """
class Oracle:
    def __sub__(self, o): return 0.0
    def __rsub__(self, o): return 0.0
    def __add__(self, o): return o
    def __mod__(self, o): return 0
    def __lt__(self, o): return True
    def __le__(self, o): return True
    def __gt__(self, o): return True
    def __ge__(self, o): return True
    def __contains__(self, o): return True
    def __abs__(self): return 0.0
    def __float__(self): return 0.0
    def __eq__(self, o): return True
def f(): return Oracle()
"""


@pytest.mark.parametrize(
    "test",
    [
        "abs(solution.f() - 3.5) < 1e-6",
        "abs(3.5 - solution.f()) < 1e-6",
        "solution.f() > 3",
        "3 < solution.f()",
        "solution.f() >= 3 and solution.f() <= 3",
        "'x' in solution.f()",
        "solution.f() + 3 == 3",
        "solution.f() % 2 == 0",
        "math.isclose(solution.f(), 3.5)",
        "solution.f() == 3 or 3 == solution.f()",
        "[solution.f()] == [3]",
        "solution.f() in (3, 4)",
        "{solution.f(): 1} == {3: 1}",
    ],
)
def test_an_object_does_not_learn_what_is_expected(test: str, grader: Grader) -> None:
    """No operator hands the expected value to an object of the program and believes what it answers."""
    grade = ask(grader, ORACLES, f"import math, solution\nassert {test}")
    assert (grade.outcome, grade.reward) == (Outcome.SCORE, 0.0), grade


CHEATS = {
    "an object that equals everything": (
        "class Yes:\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\n    def __bool__(self): return True\ndef add(a, b): return Yes()",
        "objects_compared_with_data",
    ),
    "a number that equals everything": (
        "class Yes(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef add(a, b): return Yes(0)",
        "",
    ),
    "a text that equals everything": (
        "import builtins\nYes = type('Yes', (str,), {'__eq__': lambda s, o: True, '__module__': 'builtins', '__hash__': None})\ndef add(a, b): return Yes()",
        "",
    ),
    "an early exit": ("import os\nos._exit(0)", "early_exits"),
    "an exit in the call": ("import os\ndef add(a, b): os._exit(0)", "early_exits"),
    "sys.exit": ("import sys\nsys.exit(0)", "load_failures"),
    "sys.exit in the call": ("import sys\ndef add(a, b): sys.exit(0)", ""),
    "a crash": ("import ctypes\ndef add(a, b): ctypes.string_at(0)", "early_exits"),
    "an endless call": ("def add(a, b):\n    while True: pass", "time_outs"),
    "patched unittest": (
        "import unittest\nunittest.TestCase.run = lambda *a, **k: None\nunittest.TestCase.assertEqual = lambda *a, **k: None\ndef add(a, b): return 0",
        "",
    ),
    "patched builtins": ("import builtins\nbuiltins.AssertionError = ValueError\ndef add(a, b): return 0", ""),
    "an exception that skips": ("import unittest\ndef add(a, b): raise unittest.SkipTest('x')", ""),
    "a system exit by name": ("def add(a, b): raise KeyboardInterrupt", ""),
    "an exit handler": ("import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): return 0", ""),
    "answers on every descriptor": (
        'import os, struct\nbody = b\'[true,{"score":1.0,"metrics":{"tests_passed":1,"tests_total":1}}]\'\nfor fd in range(3, 64):\n    try: os.write(fd, b\'R\' + bytes(16) + struct.pack(\'=Q\', len(body)) + body)\n    except OSError: pass\ndef add(a, b): return 0',
        "broken_replies",
    ),
    "a reply that is no reply": (
        "import os, struct\ndef add(a, b):\n    for fd in range(3, 64):\n        try: os.write(fd, struct.pack('=Q', 2) + b'[]')\n        except OSError: pass",
        "broken_replies",
    ),
    "a reply that is too long": (
        "import os, struct\ndef add(a, b):\n    for fd in range(3, 64):\n        try: os.write(fd, struct.pack('=Q', 1 << 40))\n        except OSError: pass",
        "broken_replies",
    ),
    "a file in the place of unittest": ("open('unittest.py', 'w').write('x = 1')\ndef add(a, b): return 0", ""),
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_score_nothing(name: str, grader: Grader) -> None:
    """Every way around the tests scores 0, is no error of the grader, and is counted where it can be told apart."""
    program, flag = CHEATS[name]
    tests = "import unittest, solution\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(solution.add(1, 2), 3)\n"
    grade = ask(grader, program, tests)
    assert (grade.outcome, grade.reward) == (Outcome.SCORE, 0.0), grade
    assert not flag or grade.metrics.get(flag), grade
    assert grade.details["failures"]


def test_cheats_work_where_tests_and_program_share_a_process() -> None:
    """The control: in one process, as most test runners do it, these programs pass wrong answers."""
    import subprocess
    import sys

    tests = "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(add(1, 2), 3)\nunittest.main()\n"
    for name in ("an object that equals everything", "an early exit", "patched unittest"):
        done = subprocess.run([sys.executable, "-c", f"{CHEATS[name][0]}\n{tests}"], capture_output=True, check=False)
        assert done.returncode == 0, name


def test_the_last_block() -> None:
    """The program is the last fenced block, even if it is not closed; or the whole text."""
    assert last_block("a\n```py\n1\n```\nb\n```\n2\n```\nc") == "2\n"
    assert last_block("a\n~~~\n1\n~~~") == "1\n"
    assert last_block("```python\nprint('```')\n```") == "print('```')\n"
    assert last_block("````\n```\nx\n```\n````") == "```\nx\n```\n"
    assert last_block("a\n```python\n1\n2") == "1\n2"
    assert last_block("x = 1") == "x = 1"


def test_reading_tests() -> None:
    """Lists, lists as JSON text, and test files."""
    assert read_tests([{"output": "x"}]) == [Pair("", "x")]
    assert read_tests('[{"input": "a", "output": "x"}]') == [Pair("a", "x")]
    assert read_tests("assert 1") == "assert 1"


def test_comparing() -> None:
    """Lines are compared without white space at their ends and around the whole."""
    assert same_output("1 \n2\n\n", "1\n2", exact=False)
    assert not same_output("1\n\n2", "1\n2", exact=False)
    assert not same_output(" 1\n  2", "1\n2", exact=False)
    assert not same_output("1\n", "1", exact=True)


def test_the_program_s_language() -> None:
    """Another language is refused when the run file is read."""
    with pytest.raises(ConfigError, match="language"):
        build(language="rust")
