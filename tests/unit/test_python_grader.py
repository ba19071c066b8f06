"""The grader `python`: OpenAI's contract, in real sandboxed processes."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rft_core import BuildContext, Grade, Grader, Group, Item, Rollout
from rft_core.errors import ConfigError
from rft_core.registry import Registry
from rft_core.types import Outcome
from rft_grader_python import doctor
from rft_grader_python.python import PythonGrader
from rft_grader_python.sandbox import launch, linux, seccomp, syscalls
from rft_grader_python.sandbox.setup import TIERS, Setup
from rft_grader_python.source import check_source, imported_modules

REGISTRY = Registry.discover()
RUNTIME, SERVER = "python_grader_runtime_error", "python_grader_server_error"


def build(source: str, **settings: Any) -> Any:
    config = {"type": "python", "source": source, "timeout_s": 5, **settings}
    return REGISTRY.build("grader", config, BuildContext(base_dir=Path()))


def group(*texts: str, **row: Any) -> Group:
    rollouts = tuple(
        Rollout(ordinal=0, sample=i, seed=i, segments=(), text=t, finish_reason="stop") for i, t in enumerate(texts)
    )
    return Group(ordinal=0, item=Item(key="i", index=0, row=row), rollouts=rollouts)


def ask(grader: Grader, text: str = "", **row: Any) -> Grade:
    (grade,) = grader.grade(group(text, **row))
    return grade


SOURCE = """
import math
from fractions import Fraction
from decimal import Decimal
import numpy as np

def grade(sample, item):
    print("printed")
    return {
        "half": 0.5, "one": 1, "big": 10**400, "none": None, "true": True, "text": "1.0", "list": [1.0],
        "nan": math.nan, "inf": -math.inf, "fraction": Fraction(1, 4), "decimal": Decimal("0.25"),
        "numpy": np.float32(0.25), "numpy int": np.int64(2), "array": np.array([1.0]), "arrays": np.ones(2),
        "dict": {"score": 0.5, "metrics": {"a": np.float64(2)}, "sub_rewards": {"b": 1}, "details": {"c": [1, "x"]}},
        "abstain": {"score": None}, "unknown key": {"score": 1, "rewards": 1}, "no score": {}, "bad metric": {"score": 1, "metrics": {"a": "x"}},
        "nan metric": {"score": 1, "metrics": {"a": math.nan}}, "object": object(), "function": grade, "set": {1},
    }[sample["output_text"]]
"""


@pytest.fixture(scope="module", params=["auto", "landlock", "none"])
def grader(request: pytest.FixtureRequest) -> Iterator[Grader]:
    """In the strongest tier here, in the weakest, and without a sandbox."""
    built = build(SOURCE, sandbox=request.param)
    yield built
    built.close()


@pytest.mark.parametrize(
    ("text", "reward"),
    [("half", 0.5), ("one", 1.0), ("fraction", 0.25), ("decimal", 0.25), ("numpy", 0.25), ("numpy int", 2.0)],
)
def test_numbers_are_scores(text: str, reward: float, grader: Grader) -> None:
    """Whatever is a finite number is the reward."""
    assert ask(grader, text) == Grade.score(reward)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("true", "TypeError: the result must be a number, got bool True; write float"),
        ("text", "TypeError: the result must be a number, got str '1.0'"),
        ("list", "TypeError: the result must be a number, got list"),
        ("nan", "ValueError: the result must be finite, got nan"),
        ("inf", "ValueError: the result must be finite, got -inf"),
        ("big", "OverflowError"),
        ("arrays", "TypeError: the result is neither a number nor None nor a dict"),
        ("object", "TypeError: the result is neither a number"),
        ("function", "TypeError: the result is neither a number"),
        ("set", "TypeError: the result is neither a number"),
        ("unknown key", "ValueError: a dict result has the keys"),
        ("no score", "ValueError: a dict result has the keys"),
        ("bad metric", "TypeError: metrics['a'] must be a number"),
        ("nan metric", "ValueError: metrics['a'] must be finite"),
        ("missing", "KeyError: 'missing'"),
    ],
)
def test_anything_else_is_an_error(text: str, message: str, grader: Grader) -> None:
    """Never a zero: a typed error with a sentence."""
    grade = ask(grader, text)
    assert (grade.outcome, grade.error_kind, grade.reward) == (Outcome.GRADER_ERROR, RUNTIME, None)
    assert message in (grade.message or "")


def test_none_and_dicts(grader: Grader) -> None:
    """None is no opinion; a dict brings metrics, sub-rewards and details."""
    assert ask(grader, "none").outcome is ask(grader, "abstain").outcome is Outcome.ABSTAINED
    assert ask(grader, "dict") == Grade.score(0.5, metrics={"a": 2.0}, sub_rewards={"b": 1.0}, details={"c": [1, "x"]})


def test_a_traceback_names_lines_and_no_paths(grader: Grader) -> None:
    """What raised shows the lines of the source, what was printed, and nothing of this machine."""
    grade = ask(grader, "missing")
    assert grade.message is not None
    assert grade.message.startswith('Traceback (most recent call last):\n  File "grader.py", line ')
    assert sys.prefix not in grade.message
    assert str(Path.home()) not in grade.message
    assert grade.details == {"output": "printed\n"}


def test_sample_and_item(grader: Grader) -> None:
    """The function sees OpenAI's namespaces, and what it changes in them reaches no other call."""
    source = """
def grade(sample, item):
    assert sample["output_text"] == '{"a": 1}' and sample["output_json"] == {"a": 1}
    assert sample["choices"][0]["message"]["content"] == '{"a": 1}' and sample["output_tools"] == []
    assert item["answer"] == ["x"] and "seen" not in item
    item["seen"] = True
    return len(item["answer"])
"""
    built = build(source)
    assert [g.reward for g in built.grade(group('{"a": 1}', '{"a": 1}', '{"a": 1}', answer=["x"]))] == [1.0] * 3
    built.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os._exit(0)", "the process exited with status 0"),
        ("import os; os.kill(os.getpid(), 9); os.abort()", "killed by signal"),
        ("import ctypes; ctypes.string_at(0)", "killed by signal 11"),
        ("return bytearray(4 << 30)", "MemoryError"),
        ("def f(): return f()\n    return f()", "RecursionError"),
        ("raise type('E', (Exception,), {'__str__': lambda s: 1 / 0})", "E"),
        ("raise Exception('x' * 10**6)", "Exception: xxx"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(9,)).start(); return 1",
            "threads still run",
        ),
        ("import os; os.close(1); os.closerange(3, 200); return 1", "the process"),
        ("return {'score': 1, 'details': {'x': 'y' * (5 << 20)}}", "the answer has"),
    ],
)
def test_whatever_the_code_does_is_one_typed_error(body: str, message: str) -> None:
    """Exits, crashes and too much of anything: this sample's error, and the next sample's grade is right."""
    built = build(f"def grade(sample, item):\n    if sample['output_text'] == 'good': return 1\n    {body}\n")
    bad, good = built.grade(group("bad", "good"))
    assert (bad.outcome, bad.error_kind) == (Outcome.GRADER_ERROR, RUNTIME), bad
    assert message in bad.message
    assert good == Grade.score(1.0)
    built.close()


def test_time_is_limited_and_other_samples_go_on() -> None:
    """A call that hangs is timed out, at its time; those beside it are not held up."""
    source = "def grade(sample, item):\n    while sample['output_text'] == 'hang': pass\n    return 1\n"
    built = build(source, timeout_s=0.5, parallel=2)
    start_s = time.monotonic()
    hung, good = built.grade(group("hang", "good"))
    assert time.monotonic() - start_s < 5
    assert hung.outcome is Outcome.TIMED_OUT
    assert good == Grade.score(1.0)
    built.close()


def test_output_is_bounded() -> None:
    """A flood of output costs nothing, and a little of it is kept for an error."""
    built = build(
        "def grade(sample, item):\n    for _ in range(10**5): print('y' * 100)\n    raise ValueError('end')\n"
    )
    grade = ask(built)
    assert grade.message is not None
    assert grade.message.endswith("ValueError: end")
    assert 1000 < len(str(grade.details["output"])) < 5000
    built.close()


@pytest.mark.parametrize("sandbox", ["auto", "landlock"])
def test_a_dead_server_is_started_again(sandbox: str) -> None:
    """Killed by chance, such as by a machine short of memory: the next call starts another."""
    built: PythonGrader = build("def grade(sample, item):\n    return 1\n", sandbox=sandbox)
    assert ask(built) == Grade.score(1.0)
    process = built._sandbox._zygote._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert ask(built) == Grade.score(1.0)
    built.close()


def test_nothing_is_left_behind() -> None:
    """After close there is no process, no folder and no file descriptor."""
    before = {path.name for path in Path("/proc/self/fd").iterdir()}
    built = build("def grade(sample, item):\n    return 1\n")
    built.grade(group(*["x"] * 20))
    process, scratch = built._sandbox._zygote._process, built._sandbox._zygote._scratch
    built.close()
    assert process.poll() is not None
    assert not Path(scratch).exists()
    assert {path.name for path in Path("/proc/self/fd").iterdir()} <= before


def test_children_end_with_their_sample() -> None:
    """A process that a sample leaves behind does not outlive its grade, in the tiers that allow children."""
    source = """
import os, time
def grade(sample, item):
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(300)
    return child
"""
    built = build(source)
    if built.facts()["child_processes"] == "no":
        pytest.skip("this tier allows no children")
    assert ask(built).outcome is Outcome.SCORE
    time.sleep(0.2)
    sleeping = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    zygote = built._sandbox._zygote._process.pid
    inside = [line for line in sleeping.splitlines() if "rft_grader_python" in line]
    assert sum(line.split()[0] == str(zygote) for line in inside) <= 1
    built.close()


def test_many_threads_may_grade() -> None:
    """Calls from several threads at once get their own answers."""
    built = build("def grade(sample, item):\n    return float(sample['output_text'])\n", parallel=4)
    found: dict[int, list[float | None]] = {}

    def work(start: int) -> None:
        found[start] = [g.reward for g in built.grade(group(*map(str, range(start, start + 20))))]

    threads = [threading.Thread(target=work, args=(n * 100,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n * 100: [float(x) for x in range(n * 100, n * 100 + 20)] for n in range(4)}
    built.close()


def test_the_same_sample_gets_the_same_grade() -> None:
    """Random numbers and hashes of text start from the same state in every call."""
    built = build("import random\ndef grade(sample, item):\n    return random.random() + hash('x') % 7\n")
    assert len({g.reward for g in built.grade(group(*["x"] * 5))}) == 1
    built.close()


def test_a_source_that_handles_signals_gets_the_main_thread() -> None:
    """Time-outs by SIGALRM, as many graders have them, work."""
    source = """
import signal, time
def handler(*_): raise TimeoutError("too slow")
def grade(sample, item):
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        time.sleep(3)
    except TimeoutError:
        return 0.25
    return 1
"""
    for sandbox in ("auto", "landlock"):
        built = build(source, sandbox=sandbox)
        assert ask(built) == Grade.score(0.25)
        built.close()


def test_subprocesses_and_files() -> None:
    """Graders that write files and start programs work where the tier allows children."""
    source = """
import subprocess, sys, tempfile, multiprocessing, os
def double(x): return 2 * x
def grade(sample, item):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "p.py")
        with open(path, "w") as file: file.write("print(6 * 7)")
        os.chmod(path, 0o700)
        answer = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=20)
    with multiprocessing.Pool(2) as pool:
        assert pool.map(double, [1, 2]) == [2, 4]
    return int(answer.stdout or answer.stderr)
"""
    built = build(source, timeout_s=30)
    if built.facts()["child_processes"] == "yes":
        grade = ask(built)
        assert grade.reward == 42.0 or "threads still run" in (grade.message or ""), grade
    built.close()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "defines no function grade"),
        ("def grades(sample, item): pass", "did you mean 'grades'"),
        ("def grade(sample): pass", r"line 1: grade must take two positional arguments"),
        ("\n\ndef grade(a, b, c): pass", r"line 3: grade must take two positional arguments"),
        ("def grade(a, b, *, c): pass", "line 1"),
        ("async def grade(a, b): pass", "asynchronous"),
        ("x = 1\ndef grade(sample, item)\n    pass", "line 2"),
        ("def grade(a, b):\n    return 1\n  x", "line 3"),
        ("def grade(a, b): pass\nawait x", "line 2"),
        ("def grade(a, b): pass\x00", "cannot be compiled"),
        ("def grade(a, b): pass\n#" + "x" * 256_000, "less than 256000"),
    ],
)
def test_bad_sources_are_refused_when_the_run_file_is_read(source: str, message: str) -> None:
    """A sentence with the line, before anything runs."""
    with pytest.raises(ConfigError, match=message):
        build(source)


@pytest.mark.parametrize(
    "source",
    [
        "def grade(sample: dict, item: dict) -> float: return 1.0",
        "def grade(sample, item, extra=None): return 1.0",
        "def grade(*args): return 1.0",
        "from functools import partial\ndef f(x, sample, item): return 1.0\ngrade = partial(f, 1)",
        "if True:\n    def grade(sample, item): return 1.0",
    ],
)
def test_sources_that_are_fine(source: str) -> None:
    """Annotations, defaults, and functions that are made rather than defined."""
    check_source(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0\ndef grade(a, b): return 1", 'File "grader.py", line 1'),
        ("import no_such_module\ndef grade(a, b): return 1", "No module named 'no_such_module'"),
        ("raise SystemExit(0)\ndef grade(a, b): return 1", "SystemExit"),
    ],
)
def test_sources_that_fail_when_they_are_loaded(source: str, message: str) -> None:
    """The run does not start."""
    with pytest.raises(ConfigError, match="cannot be loaded") as raised:
        build(source)
    assert message in str(raised.value)


def test_a_source_that_kills_its_process_is_no_lack_of_a_sandbox() -> None:
    """The sentence is about the source."""
    with pytest.raises(ConfigError, match="source"):
        build("import os\nos._exit(3)\ndef grade(a, b): return 1")


def test_warnings() -> None:
    """An unknown image and code that is executed in the grader's own process are said, and change nothing."""
    with pytest.warns(UserWarning, match="image_tag 'alpha' is unknown"):
        build("def grade(a, b): return 1", image_tag="alpha").close()
    with pytest.warns(UserWarning, match=r"eval \(line 1\).*use code_tests"):
        build("def grade(a, b): return eval('1')").close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build("def grade(a, b): return 1", image_tag="2025-05-08", pass_threshold=0.5).close()


def test_facts_say_what_isolates(grader: Grader) -> None:
    """For the record of the run."""
    facts = grader.facts()  # type: ignore[attr-defined]
    assert facts["sandbox"] in (*TIERS, "none")


def test_imports_of_a_source() -> None:
    """Those in functions too, so that the frozen parent has them."""
    assert imported_modules("import a.b, c\ndef f():\n    from d.e import g\n    import h\nfrom . import i") == (
        "a.b",
        "c",
        "d.e",
        "h",
    )


def test_doctor_tries_the_tiers() -> None:
    """Each tier is tried; what is missing says what to install."""
    found = {check.name: check for check in doctor.checks()}
    assert set(found) == {"sandbox", *(f"sandbox/{tier}" for tier in TIERS)}
    assert all(check.fix for check in found.values() if check.status != "ok")
    works = any(found[f"sandbox/{tier}"].status == "ok" for tier in TIERS)
    assert (found["sandbox"].status == "missing") is not works


def test_it_refuses_when_nothing_isolates() -> None:
    """Where neither namespaces nor Landlock are allowed, the sentence says what to do; `none` has to be typed."""
    program = """
import os, sys
os.environ["PATH"] = ""
from rft_grader_python.sandbox import launch, linux, seccomp
from rft_grader_python.sandbox.setup import Setup
# A filter that takes away what the tiers are made of.
linux.no_new_privileges()
refused = [seccomp._return(seccomp._errno(1))]
unshare, landlock = 272 if linux.MACHINE == "x86_64" else 97, 444
rules = [*seccomp._only_if(unshare, refused), *seccomp._only_if(landlock, refused), seccomp._return(seccomp._ALLOW)]
seccomp.install(seccomp._packed(rules), pid=None)
try:
    launch.start(Setup(tier="auto"))
except ValueError as error:
    print(error)
launch.start(Setup(tier="none")).close()
print("none works")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "cannot isolate" in done.stdout, done.stderr
    assert "apt install bubblewrap" in done.stdout
    assert done.stdout.endswith("none works\n")


def test_the_tables_of_system_calls() -> None:
    """Every architecture has the calls without which nothing runs, and no number stands twice."""
    for machine in ("x86_64", "aarch64"):
        tables = [
            syscalls.numbers(t, machine)
            for t in (syscalls.PLAIN, syscalls.METADATA, syscalls.PROCESSES, syscalls.CHECKED)
        ]
        numbers = [n for table in tables for n in table.values()]
        assert len(numbers) == len(set(numbers))
        assert {"read", "write", "mmap", "futex", "exit_group", "openat"} <= set(tables[0])
    assert len(seccomp.build(processes=True, metadata=True)) % 8 == 0
    assert linux.SUPPORTED


def test_a_tier_by_name_or_refuse() -> None:
    """A tier that this machine lacks is refused by name."""
    if shutil.which("bwrap"):
        launch.start(Setup(tier="bubblewrap")).close()
        return
    with pytest.raises(ConfigError, match="bubblewrap: bwrap is not installed"):
        launch.start(Setup(tier="bubblewrap"))
