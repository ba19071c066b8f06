"""The grader math: what is equal, where answers are found, and that nothing hangs or is executed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft_core import Grade, Group, Item, Outcome, Rollout
from rft_grader_math.config import MathConfig
from rft_grader_math.extract import answer_in, last_box, reference_in
from rft_grader_math.grader import MathGrader


def group(answer: Any, *texts: str) -> Group:
    rollouts = tuple(
        Rollout(ordinal=0, sample=n, seed=1, segments=(), text=text, finish_reason="stop")
        for n, text in enumerate(texts)
    )
    row = {"messages": [{"role": "user", "content": "q"}], "answer": answer}
    return Group(ordinal=0, item=Item(key="k", index=0, row=row), rollouts=rollouts)


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    found = MathGrader(MathConfig(reference="{{item.answer}}", processes=1))
    yield found
    found.close()


@pytest.mark.parametrize(
    ("reference", "answer", "equal"),
    [
        ("1/2", r"\frac{1}{2}", True),
        ("1/2", "0.5", True),
        (r"\frac{1}{2}", r"50\%", True),
        ("(x+1)^2", "x^2+2x+1", True),
        ("(x+1)^2", "x^2+1", False),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        (r"\{1, 2\}", r"\{2, 1\}", True),
        ("(1, 2)", "(2, 1)", False),
        ("1000", "1,000", True),
        ("x = 3", "3", True),
        ("12", r"12 \text{ cm}", True),
        ("1/3", "0.33", False),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", True),
        (r"\boxed{7}", "7.0", True),
        (r"$7$", "7.0", True),
        ("7", "the seventh", False),
        ("7", r"\frac{1}", False),
        ("7", "__import__('os').getpid()", False),
    ],
)
def test_what_is_equal(grader: MathGrader, reference: str, answer: str, equal: bool) -> None:
    """Numbers, expressions, sets and matrices are compared by value, not by how they are written."""
    (grade,) = grader.grade(group(reference, f"So the answer is $\\boxed{{{answer}}}$."))
    assert (grade.outcome, grade.reward) == (Outcome.SCORE, float(equal))


@pytest.mark.parametrize(
    ("text", "where", "answer"),
    [
        (r"\boxed{1} and then \boxed{\frac{1}{2}}.", "auto", r"\frac{1}{2}"),
        (r"\boxed{1} or 2", "auto", "1"),
        (r"\boxed{1} or 2", "last_number", "2"),
        ("3 or 4", "boxed", None),
        ("I get -1,234.5 in all.", "auto", "-1,234.5"),
        ("3-5", "last_number", "5"),
        ("it is 3/4 of it", "auto", "3/4"),
        ("about 50%", "auto", r"50\%"),
        (r"\boxed{ $ 7 $ }", "auto", "7"),
        (r"\boxed{\{1\}}", "boxed", r"\{1\}"),
        (r"\boxed{open", "boxed", None),
        ("", "auto", None),
        ("  ", "whole", None),
        (" $x$. ", "whole", "x"),
    ],
)
def test_where_the_answer_stands(text: str, where: str, answer: str | None) -> None:
    """The last closed box, whatever braces it holds; else the last number; without dollars and full stops."""
    assert answer_in(text, where) == answer


@given(st.text(alphabet="\\boxed{}1/,.%$ -"))
def test_any_text_has_an_answer_or_none(text: str) -> None:
    """Extraction never fails."""
    for where in ("auto", "boxed", "last_number", "whole"):
        found = answer_in(text, where)
        assert found is None or found.strip()
    reference_in(text)


def test_extraction_is_linear() -> None:
    """A megabyte of what could make it slow takes no second."""
    start_s = time.monotonic()
    for text in ("\\boxed{" * 150_000, "{" * 10**6, "1," * 500_000, "1" * 10**6, "-" * 10**6):
        answer_in(text, "auto")
        last_box(text)
    assert time.monotonic() - start_s < 5


BOMBS = [
    "9^{9^{9^{9}}}",
    "10^{10^{10}}",
    "1000000000!",
    r"\sum_{n=1}^{10000000} \sin(n^{7})",
    "(" * 400 + "1" + ")" * 400,
]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:20])
def test_mathematics_cannot_hang(bomb: str) -> None:
    """What does not end is killed on time, is an error and no 0, and the grades beside it are as ever."""
    grader = MathGrader(MathConfig(reference="{{item.answer}}", processes=1, timeout_s=1.0))
    try:
        grader.grade(group("1/2", "0.25"))
        start_s = time.monotonic()
        late, right = grader.grade(group("1/2", f"\\boxed{{{bomb}}}", "0.5"))
        assert time.monotonic() - start_s < 20
    finally:
        grader.close()
    assert (late.outcome, late.error_kind, late.reward) == (Outcome.TIMED_OUT, "timed_out", None)
    assert "took longer than 1 s" in (late.message or "")
    assert right.reward == 1.0


def test_samples_that_hold_no_answer(grader: MathGrader) -> None:
    """No answer, and one of absurd length, are the sample's own fault and score 0."""
    none, long = grader.grade(group("7", "I do not know", "1" * 5000))
    assert (none.outcome, none.error_kind, none.reward) == (Outcome.SAMPLE_INVALID, "sample_parse_error", 0.0)
    assert (long.outcome, long.error_kind, long.reward) == (Outcome.SAMPLE_INVALID, "sample_parse_error", 0.0)
    assert "5000 characters" in (long.message or "")


def test_a_reference_that_is_none_is_an_error(grader: MathGrader) -> None:
    """An empty reference is the data's fault; so is a key that the row lacks."""
    (empty,) = grader.grade(group(" ", "7"))
    assert (empty.outcome, empty.error_kind) == (Outcome.GRADER_ERROR, "other_error")
    lacking = MathGrader(MathConfig(reference="{{item.nope}}"))
    (grade,) = lacking.grade(group("7", "7"))
    assert (grade.outcome, grade.error_kind) == (Outcome.GRADER_ERROR, "invalid_variable_error")


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "rft_grader_math.child" in " ".join(p.cmdline())]


def test_a_process_that_dies_is_replaced() -> None:
    """Killed from outside, it costs the grade that it was asked for at most, and close leaves none behind."""
    before = {p.pid for p in children()}
    grader = MathGrader(MathConfig(reference="{{item.answer}}", processes=1))
    grader.grade(group("1/2", "0.25"))
    (mine,) = [p for p in children() if p.pid not in before]
    os.kill(mine.pid, signal.SIGKILL)
    grades = [grader.grade(group("1/2", "0.5"))[0] for _ in range(2)]
    assert grades[0].outcome is Outcome.GRADER_ERROR
    assert "ended" in (grades[0].message or "")
    assert grades[1] == Grade.score(1.0)
    grader.close()
    assert {p.pid for p in children()} <= before


def test_a_process_sees_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in the environment stay with the engine."""
    monkeypatch.setenv("MY_API_KEY", "secret")
    before = {p.pid for p in children()}
    grader = MathGrader(MathConfig(reference="{{item.answer}}", processes=1))
    grader.grade(group("1/2", "0.25"))
    (mine,) = [p for p in children() if p.pid not in before]
    assert "MY_API_KEY" not in mine.environ()
    grader.close()


def test_a_process_ends_with_its_parent() -> None:
    """A killed engine leaves no process behind."""
    script = (
        "import sys, time\n"
        "from rft_grader_math.processes import Comparer\n"
        "c = Comparer()\n"
        "print(c._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_threads_share_the_processes() -> None:
    """Called from several threads at once, every thread gets its own answers."""
    grader = MathGrader(MathConfig(reference="{{item.answer}}", processes=2))
    found: dict[int, list[float | None]] = {}

    def work(n: int) -> None:
        texts = [f"\\boxed{{\\frac{{{n * k}}}{{{k}}}}}" for k in range(2, 6)] + [str(n + 1)]
        found[n] = [g.reward for g in grader.grade(group(str(n), *texts))]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    grader.close()
    assert found == {n: [1.0, 1.0, 1.0, 1.0, 0.0] for n in range(6)}


def test_texts_are_not_executed(tmp_path: Path) -> None:
    """Python that stands in an answer or a reference stays text, in every setting of extract."""
    mark = tmp_path / "executed"
    evil = f"__import__('pathlib').Path('{mark}').touch()"
    for where in ("auto", "whole"):
        grader = MathGrader(MathConfig(reference="{{item.answer}}", extract=where, processes=1))
        grader.grade(group(f"{evil} + 1", f"\\boxed{{{evil}}}", evil, f"${evil}$"))
        grader.close()
    assert not mark.exists()
