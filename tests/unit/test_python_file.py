"""python_file: graders and data sources that are a function of the user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rft_core import BuildContext, DataSource, Grade, Grader, Group, Item, Outcome, Rollout
from rft_core.errors import ConfigError, DataError
from rft_python_file import rft_data_sources, rft_graders
from rft_python_file.grader import PythonFileGrader

ROW = {"messages": [{"role": "user", "content": "q"}], "answer": "42", "list": [1]}
(GRADER,) = rft_graders()
(DATA,) = rft_data_sources()


def group(*texts: str) -> Group:
    rollouts = tuple(
        Rollout(ordinal=0, sample=i, seed=i, segments=(), text=t, finish_reason="stop") for i, t in enumerate(texts)
    )
    return Group(ordinal=0, item=Item(key="k", index=0, row=ROW), rollouts=rollouts)


def grader(folder: Path, source: str, function: str = "grade", **settings: Any) -> Grader:
    (folder / "grader.py").write_text(source)
    config = GRADER.config.model_validate({"type": "python_file", "path": f"./grader.py:{function}", **settings})
    return GRADER.build(config, BuildContext(base_dir=folder))


def data(folder: Path, source: str, **settings: Any) -> DataSource:
    (folder / "data.py").write_text(source)
    return DATA.build(DATA.config.model_validate({"path": "./data.py:rows", **settings}), BuildContext(base_dir=folder))


def grade_of(folder: Path, expression: str) -> Grade:
    source = f"import math\nimport numpy as np\nfrom rft_core import Grade\ndef grade(sample, item):\n    return {expression}\n"
    (grade,) = grader(folder, source).grade(group("42"))
    return grade


def test_an_openai_python_grader_runs_unchanged(tmp_path: Path) -> None:
    """`grade(sample, item)` gets the contract's sample and the whole row, by position."""
    source = """
from typing import Any
import json

def helper(text): return text.strip()

def grade(sample: dict[str, Any], item: dict[str, Any]) -> float:
    assert sample["choices"][0]["message"]["content"] == sample["output_text"]
    assert item["messages"][0]["content"] == "q"
    parsed = sample.get("output_json")
    return float(helper(sample["output_text"]) == item["answer"]) + (0.5 if parsed == {"a": 1} else 0)
"""
    assert [g.reward for g in grader(tmp_path, source).grade(group(" 42 ", "41", '{"a": 1}'))] == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("expression", "reward"),
    [
        ("1", 1.0),
        ("-2.5", -2.5),
        ("np.float32(0.5)", 0.5),
        ("np.int64(3)", 3.0),
        ("Grade.score(0.25)", 0.25),
        ('{"score": 2}', 2.0),
    ],
)
def test_numbers_of_any_kind_are_scores(tmp_path: Path, expression: str, reward: float) -> None:
    """Python and numpy numbers, a Grade or a dict with a score are rewards as they are."""
    grade = grade_of(tmp_path, expression)
    assert (grade.outcome, grade.reward) == (Outcome.SCORE, reward)


def test_a_dict_carries_metrics_and_sub_rewards(tmp_path: Path) -> None:
    """Numbers beside the score reach the grade."""
    grade = grade_of(
        tmp_path, '{"score": 1, "metrics": {"len": 2}, "sub_rewards": {"style": 0.5}, "details": {"why": "x"}}'
    )
    assert (grade.reward, grade.metrics, grade.sub_rewards) == (1.0, {"len": 2.0}, {"style": 0.5})
    assert grade.details == {"why": "x"}


@pytest.mark.parametrize("expression", ["None", '{"score": None}'])
def test_none_abstains(tmp_path: Path, expression: str) -> None:
    """A grader without an opinion gives no reward, and no error."""
    assert grade_of(tmp_path, expression).outcome is Outcome.ABSTAINED


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("1 / 0", "grader.py line 5 in grade: ZeroDivisionError: division by zero"),
        ('item["missing"]', "KeyError: 'missing'"),
        ("exit(0)", "SystemExit"),
        ("[][1]", "IndexError"),
        ("math.nan", "must be finite"),
        ("math.inf", "must be finite"),
        ("np.float64('nan')", "must be finite"),
        ("10 ** 400", "too large"),
        ('"1"', "must be a number, got str '1'"),
        ("True", "must be a number, got bool"),
        ("np.bool_(True)", "must be a number, got bool"),
        ("[1]", "must be a number, got list"),
        ("1j", "must be a number, got complex"),
        ('{"reward": 1}', "keys score, metrics, sub_rewards and details"),
        ('{"score": 1, "metric": {}}', "keys score, metrics, sub_rewards and details"),
        ('{"score": 1, "metrics": {"a": "b"}}', "metrics['a'] must be a number"),
        ('{"score": 1, "metrics": [1]}', "metrics must be a dict"),
    ],
)
def test_a_failure_is_a_grader_error_with_the_users_line(tmp_path: Path, expression: str, says: str) -> None:
    """An exception or a result that is no number is python_grader_runtime_error, never a 0."""
    grade = grade_of(tmp_path, expression)
    assert (grade.outcome, grade.error_kind, grade.reward) == (
        Outcome.GRADER_ERROR,
        "python_grader_runtime_error",
        None,
    )
    assert says in (grade.message or "")


def test_one_failure_leaves_the_other_rollouts_alone(tmp_path: Path) -> None:
    """Each rollout has its own outcome; what the function changes in its arguments reaches no other call."""
    source = """
def grade(sample, item):
    item["list"].append(1)
    sample["output_text"] += "x"
    return len(item["list"]) if sample["output_text"] == "ax" else 1 / 0
"""
    texts = group("a", "b", "a")
    assert [g.reward for g in grader(tmp_path, source).grade(texts)] == [2.0, None, 2.0]
    assert texts.item.row["list"] == [1]


COUNTED = """
import threading, time
lock, running, most = threading.Lock(), 0, 0
def grade(sample, item):
    global running, most
    with lock:
        running += 1
        most = max(most, running)
    time.sleep(0.1)
    with lock:
        running -= 1
    if sample["output_text"] == "odd":
        raise ValueError("odd")
    return most
"""


@pytest.mark.parametrize(("concurrency", "most"), [(None, 1), (2, 2), (8, 6)])
def test_calls_at_the_same_time(tmp_path: Path, concurrency: int | None, most: int) -> None:
    """With `concurrency` the rollouts of a group share so many calls; each grade stays at its place."""
    graded = grader(tmp_path, COUNTED, concurrency=concurrency).grade(group("a", "odd", "b", "c", "odd", "d"))
    assert [grade.outcome is Outcome.SCORE for grade in graded] == [True, False, True, True, False, True]
    assert max(grade.reward or 0 for grade in graded) == most


def test_group_scope_sees_all_samples(tmp_path: Path) -> None:
    """With `scope: group` the function compares the samples of a group and returns one result each."""
    source = """
def grade(samples, item):
    longest = max(len(s["output_text"]) for s in samples)
    return [len(s["output_text"]) / longest if s["output_text"] else None for s in samples]
"""
    grades = grader(tmp_path, source, scope="group").grade(group("ab", "abcd", ""))
    assert [g.reward for g in grades] == [0.5, 1.0, None]


@pytest.mark.parametrize(
    ("result", "says"), [("[1]", "1 results"), ("3", "returned int"), ("1 / 0", "ZeroDivisionError")]
)
def test_group_scope_failures_reach_every_rollout(tmp_path: Path, result: str, says: str) -> None:
    """A wrong number of results or an exception fails each rollout of the group."""
    grades = grader(tmp_path, f"def grade(samples, item):\n    return {result}\n", scope="group").grade(group("a", "b"))
    assert [g.error_kind for g in grades] == ["python_grader_runtime_error"] * 2
    assert all(says in (g.message or "") for g in grades)


@pytest.mark.parametrize(
    ("source", "function", "says"),
    [
        ("def grade(sample, item): return 1", "grad", "has no function 'grad'; did you mean 'grade'"),
        ("x = 1", "grade", "and no other one"),
        ("def grade(sample): return 1", "grade", "must take the arguments (sample, item)"),
        ("async def grade(sample, item): return 1", "grade", "asynchronous"),
        ("def grade(sample, item):\nreturn 1", "grade", "IndentationError"),
        ("import nonexistent_module", "grade", "line 1 in <module>: ModuleNotFoundError"),
        ("raise SystemExit(3)", "grade", "SystemExit: 3"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_config_error(tmp_path: Path, source: str, function: str, says: str) -> None:
    """What is wrong with the file itself shows when the grader is built, with the nearest name or the line."""
    with pytest.raises(ConfigError) as caught:
        grader(tmp_path, source, function)
    assert says in str(caught.value)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    """A misspelt path gives the nearest file."""
    (tmp_path / "grader.py").write_text("")
    with pytest.raises(ConfigError, match=r"did you mean 'grader\.py'"):
        GRADER.build(GRADER.config.model_validate({"path": "./graders.py:grade"}), BuildContext(base_dir=tmp_path))


@pytest.mark.parametrize("path", ["grader.py", "grader:grade", "grader.py:", ":grade", "grader.py:a-b"])
def test_a_path_names_file_and_function(path: str) -> None:
    """Settings without both parts are refused with an example."""
    with pytest.raises(ValidationError, match=r"\./grader\.py:grade"):
        GRADER.config.model_validate({"path": path})


def test_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    """Two graders from files of the same name keep their own code, may use dataclasses and import neighbours."""
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"neighbour_{number}.py").write_text(f"VALUE = {number}")
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom neighbour_{0} import VALUE\n@dataclass\nclass P:\n    x: int\ndef grade(sample, item): return P(VALUE).x\n"
    graders = [grader(tmp_path / str(n), source.format(n)) for n in (1, 2)]
    assert [g.grade(group("a"))[0].reward for g in graders] == [1.0, 2.0]


def test_a_file_may_have_the_name_of_a_library_module(tmp_path: Path) -> None:
    """A file called json.py neither replaces the library's module nor is replaced by it."""
    (tmp_path / "json.py").write_text("import json\ndef grade(sample, item): return json.loads('3')\n")
    built = GRADER.build(GRADER.config.model_validate({"path": "json.py:grade"}), BuildContext(base_dir=tmp_path))
    assert built.grade(group("a"))[0].reward == 3.0


def test_a_file_that_looks_unchanged_is_read_again(tmp_path: Path) -> None:
    """Mended within the second, and to the same size, which is what Python's byte code goes by."""
    file = tmp_path / "grader.py"
    for reward in (0.25, 0.75):
        file.write_text(f"def grade(sample, item):\n    return {reward}\n")
        os.utime(file, (1_700_000_000, 1_700_000_000))
        built = GRADER.build(GRADER.config.model_validate({"path": "grader.py:grade"}), BuildContext(base_dir=tmp_path))
        assert built.grade(group("a"))[0].reward == reward


def test_grader_fingerprint_follows_the_source(tmp_path: Path) -> None:
    """Another source has another fingerprint, the same source the same."""
    prints = []
    for source in ("def grade(s, i): return 1", "def grade(s, i): return 1", "def grade(s, i): return 2"):
        built = grader(tmp_path, source)
        assert isinstance(built, PythonFileGrader)
        prints.append(built.fingerprint())
    assert prints[0] == prints[1] != prints[2]


ROWS = """
def rows(n=2, split="train"):
    for i in range(n):
        yield {"messages": [{"role": "user", "content": f"{split} {i}"}], "answer": (i, None)}
"""


def test_rows_come_from_the_function(tmp_path: Path) -> None:
    """Keyword arguments reach the function; rows become plain JSON with stable keys and fingerprint."""
    source = data(tmp_path, ROWS, kwargs={"n": 3, "split": "test"})
    assert isinstance(source, DataSource)
    assert len(source) == 3
    assert source.item(2).row == {"messages": [{"role": "user", "content": "test 2"}], "answer": [2, None]}
    assert source.item(2).key == "data.py:rows[2]"
    assert source.fingerprint() == data(tmp_path, ROWS, kwargs={"n": 3, "split": "test"}).fingerprint()
    assert source.fingerprint() != data(tmp_path, ROWS, kwargs={"n": 2, "split": "test"}).fingerprint()
    with pytest.raises(IndexError):
        source.item(-1)


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ("return []", DataError, "gave no rows"),
        ("return 3", ConfigError, "returned int; it must return a list"),
        ("return {'messages': []}", ConfigError, "returned dict"),
        ("return [{'answer': 1}]", DataError, "data.py:rows[0]: the row has no key 'messages'"),
        (
            "yield {'messages': [{'role': 'user', 'content': 'q'}]}; yield 3",
            DataError,
            "data.py:rows[1]: the row is a number",
        ),
        (
            "yield {'messages': [{'role': 'user', 'content': 'q'}], 'a': float('nan')}",
            DataError,
            "NaN is not a JSON number",
        ),
        ("yield {'messages': [{'role': 'user', 'content': 'q'}], 'a': {1, 2}}", DataError, "not plain JSON"),
        ("yield {'messages': [{'role': 'user', 'content': '\\ud800'}]}", DataError, "data.py:rows[0]"),
        ("yield 1 / 0", DataError, "data.py:rows failed: data.py line 2 in rows: ZeroDivisionError"),
    ],
)
def test_rows_are_checked_like_those_of_a_file(tmp_path: Path, body: str, error: type[Exception], says: str) -> None:
    """A bad row names its position; a function that fails names its line."""
    with pytest.raises(error) as caught:
        data(tmp_path, f"def rows():\n    {body}\n")
    assert says in str(caught.value)
