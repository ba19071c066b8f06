"""check_data: what it finds in a run's data before the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from rft_core import Item
from rft_core.errors import DataError
from rft_core.validation import check_data, normalised


class Rows:
    """A data source over a list."""

    def __init__(self, name: str, rows: Sequence[Mapping[str, Any]], skipped: int = 0) -> None:
        self._name, self._rows, self.skipped = name, rows, (None,) * skipped

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, index: int) -> Item:
        return Item(key=f"{self._name}:{index + 1}", index=index, row=self._rows[index])

    def fingerprint(self) -> str:
        return self._name


def row(text: str, **extra: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **extra}


def test_clean_data_has_neither_errors_nor_warnings() -> None:
    """Distinct rows with every variable pass, and the report is plain JSON."""
    report = check_data(
        Rows("t", [row("a", answer={"x": [1]}), row("b", answer={"x": [2]})]),
        Rows("v", [row("c", answer={"x": [3]})]),
        variables=["item.answer.x[0]", "sample.output_text", "item.messages"],
    )
    assert (report.errors, report.warnings) == ((), ())
    assert json.loads(json.dumps(report.to_json()))["train"]["rows"] == 2


def test_a_variable_missing_in_any_row_is_an_error() -> None:
    """Each missing variable is told once per split, with its rows and the first offending key."""
    train = Rows("t", [row("a", answer=1), row("b"), row("c", anwser=1)])
    report = check_data(train, Rows("v", [row("d", answer=1)]), variables=["item.answer", "item.answer"])
    (problem,) = report.train.missing
    assert (problem.variable, problem.rows, problem.first_key) == ("item.answer", 2, "t:2")
    assert len(report.errors) == 1
    assert "{{item.answer}} is missing in 2 of 3 training rows, first in t:2" in report.errors[0]


def test_null_variables_and_skipped_rows_are_warnings() -> None:
    """A null would be graded as the text `null`; skipped rows are never silent."""
    report = check_data(Rows("t", [row("a", answer=None), row("b", answer=1)], skipped=3), variables=["item.answer"])
    assert report.errors == ()
    assert [w[:30] for w in report.warnings] == ["3 rows of the training data ca", "{{item.answer}} is null in 1 o"]


def test_duplicates_are_found_by_messages() -> None:
    """Rows with the same messages are duplicates whatever their other keys; key order does not matter."""
    swapped = {"messages": [{"content": "a", "role": "user"}], "answer": 2}
    report = check_data(Rows("t", [row("a", answer=1), row("b"), swapped, row("a"), row("A")]))
    assert report.train.duplicates.rows == 2
    assert report.train.duplicates.examples == (("t:1", "t:3"), ("t:1", "t:4"))
    assert "t:3 those of t:1" in report.warnings[0]


def test_overlap_between_the_splits_is_found() -> None:
    """Exact and near copies of training rows in validation are told apart; other numbers are other tasks."""
    train = Rows("t", [row("What is 3 + 4?"), row("Name a colour")])
    report = check_data(
        train, Rows("v", [row("Name a colour"), row("what  is\n3 + 4? "), row("What is 3 - 4?"), row("What is 3 + 5?")])
    )
    (overlap,) = report.overlaps
    assert (overlap.exact.rows, overlap.exact.examples) == (1, (("t:2", "v:1"),))
    assert (overlap.near.rows, overlap.near.examples) == (1, (("t:1", "v:2"),))
    assert len(report.warnings) == 2


def test_the_test_rows_are_checked_too() -> None:
    """Against both other splits, and for the variables of the grader alone: nothing trains on them."""
    report = check_data(
        Rows("t", [row("a", answer=1, target="x")]),
        Rows("v", [row("b", answer=1, target="x")]),
        Rows("s", [row("b", answer=1), row("A"), row("c", answer=2)]),
        variables=["item.answer", "item.target"],
        test_variables=["item.answer"],
    )
    assert report.errors == (
        "{{item.answer}} is missing in 1 of 3 test rows, first in s:2; add the key, or correct the template",
    )
    assert [w.partition(",")[0] for w in report.warnings] == [
        "1 test rows differ from a training row only in case or white space",
        "1 test rows are validation rows too",
    ]


def test_lengths_are_measured_in_characters() -> None:
    """The histogram's buckets double and add up; percentiles are lengths that occur; text parts count."""
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "ab"}, {"type": "text", "text": "ü"}]}]}
    lengths = check_data(Rows("t", [row("x" * n) for n in (10, 63, 64, 200)] + [parts])).train.prompt_chars
    assert (lengths.shortest, lengths.longest, lengths.mean) == (3, 200, 68.0)
    assert lengths.histogram == {"0-63": 3, "64-127": 1, "128-255": 1}
    assert (lengths.percentiles["p50"], lengths.percentiles["p99"]) == (63, 200)


def test_a_source_that_gives_no_rows_or_no_messages_is_an_error() -> None:
    """An empty source is an error of the report, a row without messages a DataError with its key."""
    assert check_data(Rows("t", [])).errors == ("the training data has no rows",)
    with pytest.raises(DataError, match=r"t:2: the row has no key 'messages'"):
        check_data(Rows("t", [row("a"), {"answer": 1}]))


def test_normalised_keeps_digits_and_signs() -> None:
    """Only case and white space are ignored."""
    assert normalised(" A\n\tB  3-4 ") == "a b 3-4"
    assert normalised("3 + 4") != normalised("3 - 4")
