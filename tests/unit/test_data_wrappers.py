"""split and filter: some rows of another source, the same ones whatever else it holds."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rft_core import BuildContext, DataSource
from rft_core.contract import check_data_source
from rft_core.errors import ConfigError, DataError, UnknownNameError
from rft_core.registry import Registry

REGISTRY = Registry.discover()
INNER = {"type": "jsonl", "path": "rows.jsonl"}
PARTS = ("train", "validation", "test")


def write(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    messages = [{"role": "user", "content": "q"}]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"messages": messages, **row}) + "\n" for row in rows))


def load(folder: Path, **raw: Any) -> DataSource:
    values = {"source": INNER, **raw}
    source: DataSource = REGISTRY.build("data_source", values, BuildContext(base_dir=folder), where="data.train")
    return source


def numbers(source: DataSource) -> list[int]:
    return [source.item(n).row["n"] for n in range(len(source))]


def patients(count: int) -> list[dict[str, Any]]:
    return [{"n": n, "patient": {"id": f"P{n % 60}"}, "pmid": n // 3} for n in range(count)]


@pytest.mark.parametrize("by", [None, "pmid", "patient.id"])
def test_parts_are_disjoint_and_complete(tmp_path: Path, by: str | None) -> None:
    """Each row is in one part, in the source's order, in about the share that was asked for."""
    write(tmp_path, patients(600))
    found = [numbers(load(tmp_path, type="split", part=part, by=by)) for part in PARTS]
    assert sorted(n for part in found for n in part) == list(range(600))
    assert all(part == sorted(part) for part in found)
    assert 0.6 < len(found[0]) / 600 < 0.95


@pytest.mark.parametrize("by", ["pmid", "patient.id"])
def test_equal_keys_stay_together(tmp_path: Path, by: str) -> None:
    """No patient and no publication is in two parts."""
    write(tmp_path, patients(600))
    owners: dict[Any, set[str]] = {}
    for part in PARTS:
        source = load(tmp_path, type="split", part=part, by=by)
        for n in range(len(source)):
            row = source.item(n).row
            owners.setdefault(row["pmid"] if by == "pmid" else row["patient"]["id"], set()).add(part)
    assert all(len(parts) == 1 for parts in owners.values())


@pytest.mark.parametrize("by", [None, "patient.id"])
def test_a_row_keeps_its_part(tmp_path: Path, by: str | None) -> None:
    """Another order, more rows, or fractions in another order move no row; another seed does. Without a key,
    copies of a row stay together."""
    rows = patients(300)
    write(tmp_path, rows)
    before = set(numbers(load(tmp_path, type="split", by=by)))
    shuffled = rows + [{"n": n, "patient": {"id": f"new {n}"}, "pmid": n} for n in range(1000, 1100)] + rows[:50]
    random.Random(7).shuffle(shuffled)
    write(tmp_path, shuffled)
    fractions = {"test": 0.1, "train": 0.8, "validation": 0.1}
    after = numbers(load(tmp_path, type="split", by=by, fractions=fractions))
    assert {n for n in after if n < 1000} == before
    assert set(numbers(load(tmp_path, type="split", by=by, seed=1))) != set(after)


def test_the_fingerprint_is_that_of_the_part(tmp_path: Path) -> None:
    """Rows that go to another part do not change it, rows of its own do."""
    rows = patients(300)
    write(tmp_path, rows)
    test = load(tmp_path, type="split", part="test")
    kept = set(numbers(test))
    write(tmp_path, [row for row in rows if row["n"] in kept or row["n"] % 2])
    assert load(tmp_path, type="split", part="test").fingerprint() == test.fingerprint()
    write(tmp_path, [row for row in rows if row["n"] != min(kept)])
    assert load(tmp_path, type="split", part="test").fingerprint() != test.fingerprint()


CONDITIONS = [
    ({"key": "n", "op": "eq", "value": 3}, [3]),
    ({"key": "n", "value": 3.0}, [3]),
    ({"key": "n", "op": "ne", "value": 3}, [0, 1, 2, 4]),
    ({"key": "n", "op": "lt", "value": 2}, [0, 1]),
    ({"key": "n", "op": "le", "value": 2}, [0, 1, 2]),
    ({"key": "n", "op": "gt", "value": 2.5}, [3, 4]),
    ({"key": "n", "op": "ge", "value": 3}, [3, 4]),
    ({"key": "n", "op": "in", "value": [1, 4, True]}, [1, 4]),
    ({"key": "n", "op": "not_in", "value": [1, 4]}, [0, 2, 3]),
    ({"key": "word", "op": "contains", "value": "b"}, [1, 2]),
    ({"key": "word", "op": "ge", "value": "b"}, [1, 2]),
    ({"key": "tags", "op": "contains", "value": 1}, [0, 2]),
    ({"key": "deep.x[0]", "op": "eq", "value": True}, [4]),
    ({"key": "deep", "op": "exists"}, [4]),
    ({"key": "deep", "op": "missing"}, [0, 1, 2, 3]),
    ({"key": "deep.x", "op": "ne", "value": 5}, [4]),
]
ROWS = [
    {"n": 0, "word": "a", "tags": [1]},
    {"n": 1, "word": "b", "tags": [True]},
    {"n": 2, "word": "bb", "tags": [1, 2]},
    {"n": 3, "word": "", "tags": []},
    {"n": 4, "word": "a", "tags": ["1"], "deep": {"x": [True]}},
]


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS, ids=lambda v: json.dumps(v))
def test_conditions(tmp_path: Path, condition: dict[str, Any], expected: list[int]) -> None:
    """Values are compared as JSON: 1 is 1.0 and not true; a row without the key meets `missing` alone."""
    write(tmp_path, ROWS)
    assert numbers(load(tmp_path, type="filter", where=[condition])) == expected


def test_wrappers_nest_and_keep_the_contract(tmp_path: Path) -> None:
    """A split of a filter of a source, whose keys stay those of the file."""
    write(tmp_path, patients(300))
    inner = {"type": "filter", "source": INNER, "where": [{"key": "n", "op": "lt", "value": 100}, {"key": "n", "op": "ne", "value": 7}]}  # fmt: skip
    source = load(tmp_path, type="split", source=inner, by="pmid")
    assert set(numbers(source)) < set(range(100)) - {7}
    assert source.item(0).key == f"rows.jsonl:{source.item(0).row['n'] + 1}"
    check_data_source(lambda: load(tmp_path, type="split", source=inner, by="pmid"))


def test_what_the_inner_source_left_out_is_still_counted(tmp_path: Path) -> None:
    """`skipped` of the inner source is told by the wrapper."""
    write(tmp_path, patients(50))
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write("{}\n")
    source = load(tmp_path, type="split", source={**INNER, "on_bad_row": "skip"})
    assert len(source.skipped) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("raw", "error", "says"),
    [
        ({"type": "split", "part": "dev"}, ConfigError, r"no part 'dev' in fractions \(train, validation, test\)"),
        ({"type": "split", "fractions": {"train": 0.8}}, ConfigError, "the fractions add up to 0.8, not to 1"),
        ({"type": "split", "fractions": {"train": 1.5, "b": -0.5}}, ConfigError, "above 0 and at most 1"),
        ({"type": "split", "by": "a..b"}, ConfigError, "cannot be read from"),
        ({"type": "split", "source": {"path": "x"}}, ConfigError, "the source needs a 'type'"),
        ({"type": "split", "source": {"type": "jsnl", "path": "x"}}, UnknownNameError, r"data\.train\.source\.type: there is no data source named 'jsnl'; did you mean 'jsonl'"),
        ({"type": "split", "source": {**INNER, "pth": 1}}, ConfigError, r"data\.train\.source\.pth: unknown key 'pth'"),
        ({"type": "split", "by": "wrd"}, DataError, r"the row rows\.jsonl:1 has no key 'wrd', which by names; did you mean 'word'"),
        ({"type": "split", "by": "deep"}, DataError, r"the row rows\.jsonl:1 has no key 'deep'"),
        ({"type": "split", "by": "null"}, DataError, r"the key 'null' of the row rows\.jsonl:1 is null"),
        ({"type": "split", "fractions": {"train": 1 - 1e-12, "z": 1e-12}, "part": "z"}, DataError, "none of the 5 rows falls in the part 'z'"),
        ({"type": "filter", "where": []}, ConfigError, "at least 1"),
        ({"type": "filter", "where": [{"key": "n", "op": "is", "value": 1}]}, ConfigError, "'eq', 'ne'"),
        ({"type": "filter", "where": [{"key": "n", "op": "in", "value": 1}]}, ConfigError, "in needs a list"),
        ({"type": "filter", "where": [{"key": "n", "op": "lt", "value": None}]}, ConfigError, "needs a number or a text"),
        ({"type": "filter", "where": [{"key": "n", "op": "eq"}]}, ConfigError, "eq needs a value"),
        ({"type": "filter", "where": [{"key": "n", "op": "exists", "value": 1}]}, ConfigError, "exists takes no value"),
        ({"type": "filter", "where": [{"key": "wrd", "value": 1}]}, DataError, "no row has the key 'wrd', which where names; did you mean 'word'"),
        ({"type": "filter", "where": [{"key": "n", "op": "gt", "value": 99}]}, DataError, "none of the 5 rows meets all conditions"),
        ({"type": "filter", "where": [{"key": "word", "op": "lt", "value": 5}]}, DataError, r'word of the row rows\.jsonl:1 is "a", which lt cannot hold against 5'),
        ({"type": "filter", "where": [{"key": "tags", "op": "lt", "value": 5}]}, DataError, "compare numbers with numbers"),
        ({"type": "filter", "where": [{"key": "n", "op": "contains", "value": 5}]}, DataError, "contains cannot hold"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_explained(tmp_path: Path, raw: dict[str, Any], error: type[Exception], says: str) -> None:
    """Settings by their place in the run file, rows by their key, names by the nearest."""
    write(tmp_path, [{**row, "null": None} for row in ROWS])
    with pytest.raises(error, match=says):
        load(tmp_path, **raw)
