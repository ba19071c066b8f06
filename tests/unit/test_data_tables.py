"""csv, parquet, hf_dataset and jsonl_shards: what they read, and what they say about what they cannot read."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft_core import BuildContext, DataSource
from rft_core.contract import check_data_source
from rft_core.errors import ConfigError, DataError
from rft_core.registry import Registry

REGISTRY = Registry.discover()
SAVED = Path(__file__).parent / "hf_saved"
"""Written by `datasets` 5.2.0: seven rows of train in two files, three of validation."""
MESSAGES = [{"role": "user", "content": "q"}]


def load(folder: Path, **raw: Any) -> DataSource:
    source: DataSource = REGISTRY.build("data_source", raw, BuildContext(base_dir=folder), where="data.train")
    return source


def rows(source: DataSource) -> list[dict[str, Any]]:
    return [dict(source.item(n).row) for n in range(len(source))]


def keys(source: DataSource) -> list[str]:
    return [source.item(n).key for n in range(len(source))]


def csv_of(folder: Path, text: str | bytes, **raw: Any) -> DataSource:
    (folder / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(folder, **{"type": "csv", "path": "t.csv", "prompt": "{{item.q}}", **raw})


def parquet_of(folder: Path, table: dict[str, Any] | pa.Table, **raw: Any) -> DataSource:
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), folder / "t.parquet")
    return load(folder, **{"type": "parquet", "path": "t.parquet", "prompt": "{{item.q}}", **raw})


def test_csv_makes_the_prompt_from_columns(tmp_path: Path) -> None:
    """Templates over columns; cells are text but where json_columns says so; quotes, line breaks and blank
    lines; keys are lines of the file."""
    source = csv_of(
        tmp_path,
        'q,answer,n\n"What, now?",yes,1\n\n"two\nlines","say ""no""",[1]\nlast,,\n',
        system="Be brief.",
        prompt="{{item.q}} ({{item.n}})",
        json_columns=["n"],
    )
    assert rows(source)[0] == {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "What, now? (1)"},
        ],
        "q": "What, now?",
        "answer": "yes",
        "n": 1,
    }
    assert [(r["q"], r["answer"], r["n"]) for r in rows(source)[1:]] == [
        ("two\nlines", 'say "no"', [1]),
        ("last", "", None),
    ]
    assert keys(source) == ["t.csv:2", "t.csv:4", "t.csv:6"]
    check_data_source(lambda: load(tmp_path, type="csv", path="t.csv", prompt="{{item.q}}"))


def test_csv_takes_messages_as_json(tmp_path: Path) -> None:
    """A column `messages` is the prompt and `tools` its tools, both as JSON; an empty cell of tools is none."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    cells = [json.dumps(v).replace('"', '""') for v in (MESSAGES, tools)]
    source = csv_of(tmp_path, f'messages,tools\n"{cells[0]}","{cells[1]}"\n"{cells[0]}",\n', prompt=None)
    assert rows(source) == [{"messages": MESSAGES, "tools": tools}, {"messages": MESSAGES}]


@pytest.mark.parametrize(
    ("data", "raw"),
    [
        ("q\té\n".encode() + b"a\tb\n", {"delimiter": "\t"}),
        (b"\xef\xbb\xbfq,\xc3\xa9\na,b\n", {}),
        ("q;é\r\na;b\r\n".encode("cp1252"), {"delimiter": ";", "encoding": "cp1252"}),
        ("q,é\na,b\n".encode("utf-16"), {"encoding": "utf-16"}),
    ],
    ids=["tabs", "byte order mark", "cp1252 of Windows", "utf-16"],
)
def test_csv_in_other_dress(tmp_path: Path, data: bytes, raw: dict[str, Any]) -> None:
    """Delimiters, encodings, byte order marks and line ends."""
    assert rows(csv_of(tmp_path, data, **raw)) == [{"messages": [{"role": "user", "content": "a"}], "q": "a", "é": "b"}]


PLAIN = "q,a\nx,1\n"


@pytest.mark.parametrize(
    ("text", "raw", "says"),
    [
        ("", {}, "t.csv: the file is empty"),
        ("q,a\n", {}, "t.csv: there are no rows"),
        (PLAIN, {"offset": 1}, "there are no rows; lower the offset 1"),
        ("q,a,q\n1,2,3\n", {}, "t.csv:1: columns 1 and 3 are both named 'q'; rename one"),
        ("q,,b\n1,2,3\n", {}, "t.csv:1: column 2 has no name"),
        ("q,a\nx,1\ny\n", {}, "t.csv:3: the row has 1 cells, there are 2 columns"),
        ("q,a\nx,1,2\n", {}, "t.csv:2: the row has 3 cells, there are 2 columns"),
        ('q,a\nx,1\n"open,1\ny,2\n', {}, "t.csv:3: the row cannot be read: unexpected end of data"),
        ('q,a\n"x"y,1\n', {}, "t.csv:2: the row cannot be read: ',' expected after"),
        (PLAIN, {"prompt": "{{item.qq}}"}, "no column 'qq', which the setting prompt names; did you mean 'q'"),
        (PLAIN, {"system": "{{item.aa}}"}, "no column 'aa', which the setting system names; did you mean 'a'"),
        (PLAIN, {"columns": ["a"]}, "no column 'q', which the setting prompt names"),
        (PLAIN, {"columns": ["q", "answer"]}, "no column 'answer', which the setting columns names"),
        (PLAIN, {"json_columns": ["b"]}, "no column 'b', which json_columns names"),
        (PLAIN, {"prompt": None}, "no column 'messages' and no prompt; the columns are q, a; write the setting prompt"),
        ("q;a\nx;1\n", {}, "no column 'q', .* the line of names holds a semicolon: write delimiter: ';'"),
        ("q\ta\nx\t1\n", {"prompt": None}, r"holds a tab: write delimiter: '\\t'"),
        ("q,messages\nx,[]\n", {}, "there is a column 'messages' and a prompt; remove the setting prompt"),
        ("messages\n[]\n", {"prompt": None}, "t.csv:2: 'messages' is empty"),
        ("messages\nhello\n", {"prompt": None}, "t.csv:2:1: the cell of 'messages' is not JSON: expecting value"),
        ("q,a\nx,NaN\n", {"json_columns": ["a"]}, "t.csv:2:2: the cell of 'a' is not JSON: NaN is not a JSON number"),
        (b"q,a\nx,ok\ny,\xe9t\xe9\n", {}, "t.csv:3:3: byte 0xe9 is not utf-8; .* such as encoding: cp1252"),
        ("q,a\nx,1\n".encode("utf-16"), {}, "t.csv:1:1: byte 0xff is not utf-8; write encoding: utf-16"),
        ("q,a\nx,1\n".encode("utf-16-le"), {}, "t.csv:1: the file holds NUL bytes; write encoding: utf-16-le"),
        ("q,a\nx,\0\n", {}, "t.csv:2:2: the cell of 'a' holds NUL bytes"),
    ],
)
def test_a_bad_csv_is_located_and_explained(tmp_path: Path, text: str | bytes, raw: dict[str, Any], says: str) -> None:
    """File, line, column where known, what is wrong, and what to do."""
    with pytest.raises(DataError, match=says):
        csv_of(tmp_path, text, **raw)


def test_bad_rows_can_be_left_out(tmp_path: Path) -> None:
    """`on_bad_row: skip` counts them with place and reason; `offset` and `limit` count good and bad alike."""
    text = "q,a\nx,1\ny\nz,3\nw,4\n"
    source = csv_of(tmp_path, text, on_bad_row="skip")
    assert keys(source) == ["t.csv:2", "t.csv:4", "t.csv:5"]
    (skipped,) = source.skipped  # type: ignore[attr-defined]
    assert (skipped.file, skipped.line) == ("t.csv", 3)
    assert skipped.reason.startswith("the row has 1 cells")
    assert keys(csv_of(tmp_path, text, on_bad_row="skip", offset=1, limit=2)) == ["t.csv:4"]
    with pytest.raises(DataError, match=r"no row can be used; the first error is: t\.csv:3: the row has 1 cells"):
        csv_of(tmp_path, text, on_bad_row="skip", offset=1, limit=1)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"delimiter": '"'}, "cannot separate columns"),
        ({"delimiter": ",,"}, "at most 1 character"),
        ({"encoding": "utf-9"}, "no text encoding 'utf-9'"),
        ({"encoding": "base64"}, "no text encoding 'base64'"),
        ({"prompt": "{{sample.output_text}}"}, "the prompt comes before it"),
        ({"prompt": None, "system": "x"}, "system goes with prompt"),
        ({"pth": "x"}, "unknown key 'pth'; did you mean 'path'"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, raw: dict[str, Any], says: str) -> None:
    """What is wrong whatever the file holds is told before it is opened."""
    with pytest.raises(ConfigError, match=says):
        csv_of(tmp_path, PLAIN, **raw)


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    """The nearest name, or what kind of thing was expected."""
    (tmp_path / "train.csv").write_text(PLAIN)
    with pytest.raises(DataError, match=r"there is no file or folder .*trian.csv; did you mean 'train.csv'"):
        load(tmp_path, type="csv", path="trian.csv", prompt="x")
    with pytest.raises(DataError, match="is a folder, not a file"):
        load(tmp_path, type="csv", path=".", prompt="x")
    with pytest.raises(DataError, match="is a file, not a folder"):
        load(tmp_path, type="jsonl_shards", path="train.csv")
    with pytest.raises(DataError, match=r"there is no file \*.parquet in"):
        load(tmp_path, type="parquet", path=".")
    with pytest.raises(DataError, match=r"no file \*.jsonl or \*.jsonl.gz in"):
        load(tmp_path, type="jsonl_shards", path=".")
    with pytest.raises(DataError, match=r"is no dataset: it has no state\.json"):
        load(tmp_path, type="hf_dataset", path=".")


def test_rows_stay_what_they_were(tmp_path: Path) -> None:
    """A file that is changed or removed during a run changes no row."""
    source = csv_of(tmp_path, PLAIN)
    before = rows(source)
    (tmp_path / "t.csv").write_text("q,a\nother,2\n")
    assert rows(source) == before
    (tmp_path / "t.csv").unlink()
    assert rows(source) == before


def test_keys_keep_their_order(tmp_path: Path) -> None:
    """A template over a whole object shows it as it was written."""
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "q"}], "z": {"b": 1, "a": 2}}')
    source = load(tmp_path, type="jsonl_shards", path="shards")
    assert json.dumps(source.item(0).row["z"]) == '{"b": 1, "a": 2}'


def test_threads_read_at_once(tmp_path: Path) -> None:
    """Any number of threads get their rows."""
    source = csv_of(tmp_path, "q\n" + "".join(f"row {n}\n" for n in range(500)))
    wrong: list[int] = []

    def read(start: int) -> None:
        wrong.extend(n for n in range(start, 500, 7) if source.item(n).row["q"] != f"row {n}")

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    with pytest.raises(IndexError):
        source.item(500)


def test_equal_rows_have_equal_fingerprints(tmp_path: Path) -> None:
    """The content counts, not the format, the name or the folder; another row is another fingerprint."""
    one = csv_of(tmp_path, "q,a\nx,y\nz,w\n")
    other = parquet_of(tmp_path, {"q": ["x", "z"], "a": ["y", "w"]})
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(one)))
    third = load(tmp_path, type="jsonl_shards", path="shards")
    assert one.fingerprint() == other.fingerprint() == third.fingerprint()
    assert csv_of(tmp_path, "q,a\nx,y\nz,v\n").fingerprint() != one.fingerprint()


def test_parquet_gives_plain_json(tmp_path: Path) -> None:
    """Nested types, dates, decimals, dictionaries and nulls become JSON values."""
    table = pa.table(
        {
            "q": pa.array(["x"]).dictionary_encode(),
            "nested": pa.array([{"a": [1, 2], "b": None}]),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "none": pa.array([[]], pa.map_(pa.string(), pa.int64())),
            "date": pa.array([datetime.date(2026, 11, 24)]),
            "time": pa.array([datetime.datetime(2026, 11, 24, 12, 30, tzinfo=datetime.UTC)]),
            "wait": pa.array([datetime.timedelta(seconds=1.5)]),
            "price": pa.array([decimal.Decimal("3.50")]),
            "flag": pa.array([True]),
            "half": pa.array([0.5], pa.float16()),
            "null": pa.nulls(1),
        }
    )
    (row,) = rows(parquet_of(tmp_path, table))
    assert row == {
        "messages": [{"role": "user", "content": "x"}],
        "q": "x",
        "nested": {"a": [1, 2], "b": None},
        "map": {"k": 1},
        "none": {},
        "date": "2026-11-24",
        "time": "2026-11-24T12:30:00+00:00",
        "wait": 1.5,
        "price": "3.50",
        "flag": True,
        "half": 0.5,
        "null": None,
    }
    check_data_source(lambda: load(tmp_path, type="parquet", path="t.parquet", prompt="{{item.q}}"))


def test_parquet_messages_as_structs_and_as_json(tmp_path: Path) -> None:
    """Both forms give the same prompt; keys that Arrow only holds for other messages' sake are gone."""
    structs = [[{"role": "user", "content": "q", "name": None}], [{"role": "user", "content": "q", "name": "Ada"}]]
    assert rows(parquet_of(tmp_path, {"messages": structs}, prompt=None)) == [
        {"messages": MESSAGES},
        {"messages": [{"role": "user", "content": "q", "name": "Ada"}]},
    ]
    assert rows(parquet_of(tmp_path, {"messages": [json.dumps(MESSAGES)]}, prompt=None)) == [{"messages": MESSAGES}]


def test_a_folder_of_parquet_in_order(tmp_path: Path) -> None:
    """Files by name, each with rows of its own, read in batches."""
    for name, start in (("b", 1000), ("a", 0)):
        pq.write_table(pa.table({"q": [str(n) for n in range(start, start + 1000)]}), tmp_path / f"{name}.parquet")
    source = load(tmp_path, type="parquet", path=".", prompt="{{item.q}}")
    assert [row["q"] for row in rows(source)] == [str(n) for n in range(2000)]
    assert keys(source)[999:1001] == ["a.parquet:1000", "b.parquet:1"]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("table", "raw", "says"),
    [
        ({"q": ["x", "y"], "s": [0.5, NAN]}, {}, "t.parquet:2: 's' is nan, which is not a JSON number"),
        ({"q": ["x"], "s": [{"a": [1.0, -INF]}]}, {}, r"t.parquet:1: 's.a\[1\]' is -inf, which is not a JSON number"),
        (
            {"q": ["x"], "image": [b"png"]},
            {},
            "the column 'image' holds bytes: images and other media are not supported",
        ),
        (
            {"q": ["x"], "i": [{"bytes": b"x", "path": "p"}]},
            {},
            "the column 'i' holds bytes: .* leave it out of columns",
        ),
        ({"q": ["x"]}, {"prompt": "{{item.p}}"}, "no column 'p', which the setting prompt names"),
        ({"q": ["x"], "m": [{"a": 1}]}, {"prompt": "{{item.m.b}}"}, "t.parquet:1: .* item.m has no 'b'"),
        ({"q": pa.array([], pa.string())}, {}, "t.parquet: there are no rows"),
        ({"messages": [None]}, {"prompt": None}, "t.parquet:1: 'messages' is null, not a list"),
        ({"messages": ["hello"]}, {"prompt": None}, "t.parquet:1: 'messages' is not JSON"),
        ({"q": ["x"], "t": pa.array([2**60], pa.timestamp("ms"))}, {}, "t.parquet:1: 't' is no JSON value"),
        (
            {"messages": [json.dumps([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])]},
            {"prompt": None},
            "t.parquet:1: .*images are not supported, only text is",
        ),
    ],
)
def test_a_bad_parquet_is_located_and_explained(
    tmp_path: Path, table: dict[str, Any], raw: dict[str, Any], says: str
) -> None:
    """The row, the place inside it, and what to do; what the schema tells is told before any row."""
    with pytest.raises(DataError, match=says):
        parquet_of(tmp_path, table, **raw)


def test_columns_leave_out_what_cannot_be_read(tmp_path: Path) -> None:
    """A column that is not kept is never read."""
    source = parquet_of(tmp_path, {"q": ["x"], "image": [b"png"], "s": [NAN]}, columns=["q"])
    assert set(rows(source)[0]) == {"messages", "q"}


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    """Text, and a file that is cut off, are told apart from rows that are bad."""
    (tmp_path / "t.parquet").write_text(PLAIN)
    with pytest.raises(DataError, match=r"t\.parquet: the file cannot be read as Parquet"):
        load(tmp_path, type="parquet", path="t.parquet", prompt="x")
    pq.write_table(pa.table({"q": ["x"] * 1000}), tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"t\.parquet: the file cannot be read as Parquet"):
        load(tmp_path, type="parquet", path="t.parquet", prompt="x")


def test_a_saved_dataset(tmp_path: Path) -> None:
    """A folder of save_to_disk, with splits and shards, read without the library that wrote it."""
    train = load(SAVED.parent, type="hf_dataset", path="hf_saved", prompt="{{item.question}}")
    assert [row["question"] for row in rows(train)] == [f"q{n}" for n in range(7)]
    assert rows(train)[3]["meta"] == {"a": [1, 2], "b": None}
    assert keys(train)[3:5] == ["train/data-00000-of-00002.arrow:4", "train/data-00001-of-00002.arrow:1"]
    held = load(SAVED.parent, type="hf_dataset", path="hf_saved", split="validation", prompt="{{item.question}}")
    assert [row["n"] for row in rows(held)] == [9, 8, 7]
    alone = load(SAVED.parent, type="hf_dataset", path="hf_saved/train", prompt="{{item.question}}")
    assert alone.fingerprint() == train.fingerprint()
    with pytest.raises(DataError, match="has no split 'valid'; did you mean 'validation'"):
        load(SAVED.parent, type="hf_dataset", path="hf_saved", split="valid", prompt="x")
    check_data_source(lambda: load(SAVED, type="hf_dataset", path=".", prompt="{{item.question}}"))


def test_a_saved_dataset_that_is_damaged(tmp_path: Path) -> None:
    """Missing and cut files, a broken state.json and a selection of rows each get a sentence."""
    import shutil

    def damaged(name: str) -> Path:
        shutil.copytree(SAVED / "train", tmp_path / name)
        return tmp_path / name

    def refused(folder: Path, says: str) -> None:
        with pytest.raises(DataError, match=says):
            load(tmp_path, type="hf_dataset", path=folder.name, prompt="{{item.question}}")

    folder = damaged("missing")
    (folder / "data-00001-of-00002.arrow").unlink()
    refused(folder, "state.json names a file data-00001-of-00002.arrow that is not in")
    folder = damaged("cut")
    data = (folder / "data-00000-of-00002.arrow").read_bytes()
    (folder / "data-00000-of-00002.arrow").write_bytes(data[:200])
    refused(folder, "data-00000-of-00002.arrow: the file cannot be read as Arrow")
    folder = damaged("state")
    (folder / "state.json").write_text("[")
    refused(folder, "state.json cannot be read")
    folder = damaged("selection")
    (folder / "state.json").write_text(json.dumps({"_data_files": [], "_indices_files": [{"filename": "i"}]}))
    refused(folder, r"saved as a selection of rows; call flatten_indices\(\)")


@pytest.mark.parametrize(
    "names",
    [
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
        ["train/0000.parquet", "train/0001.parquet", "test/0000.parquet"],
        [
            "train-00000-of-00002-0123456789abcdef.parquet",
            "train-00001-of-00002-0123456789abcdef.parquet",
            "test.parquet",
        ],
    ],
)
def test_a_snapshot_of_the_hub(tmp_path: Path, names: list[str]) -> None:
    """Parquet files by split, in the forms that the hub has."""
    for n, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"q": [f"{n}a", f"{n}b"]}), tmp_path / name)
    train = load(tmp_path, type="hf_dataset", path=".", prompt="{{item.q}}")
    assert [row["q"] for row in rows(train)] == ["0a", "0b", "1a", "1b"]
    assert keys(train)[0] == f"{names[0]}:1"
    test = load(tmp_path, type="hf_dataset", path=".", split="test", prompt="{{item.q}}")
    assert [row["q"] for row in rows(test)] == ["2a", "2b"]
    with pytest.raises(DataError, match="has no split 'tests'; did you mean 'test'"):
        load(tmp_path, type="hf_dataset", path=".", split="tests", prompt="x")


def shard(*numbers: int) -> bytes:
    return b"".join(json.dumps({"messages": MESSAGES, "n": n}).encode() + b"\n" for n in numbers)


def test_shards_in_order(tmp_path: Path) -> None:
    """Packed and unpacked shards by name; other files are none; blank lines are no rows."""
    (tmp_path / "b.jsonl").write_bytes(shard(3) + b"\n" + shard(4))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(shard(1, 2)))
    (tmp_path / "README.md").write_text("no rows")
    source = load(tmp_path, type="jsonl_shards", path=".")
    assert [row["n"] for row in rows(source)] == [1, 2, 3, 4]
    assert keys(source) == ["a.jsonl.gz:1", "a.jsonl.gz:2", "b.jsonl:1", "b.jsonl:3"]
    check_data_source(lambda: load(tmp_path, type="jsonl_shards", path="."))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("b.jsonl", shard(1) + b"{\n", "b.jsonl:2:2: expecting property name"),
        # mtime=0: the bytes are in the names of these cases, which every process of the suite must find alike
        ("b.jsonl.gz", gzip.compress(shard(1) + b"{}", mtime=0), "b.jsonl.gz:2: the row has no key 'messages'"),
        ("b.jsonl.gz", gzip.compress(shard(*range(2000)), mtime=0)[:-50], "b.jsonl.gz:.*: the file cannot be unpacked"),
        ("b.jsonl.gz", shard(1), "b.jsonl.gz:1: the file cannot be unpacked: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(shard(1), mtime=0), "holds a.jsonl.gz and its unpacked copy; remove one"),
    ],
)
def test_a_bad_shard_is_located(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    """The shard and its line, in packed files too."""
    (tmp_path / "a.jsonl").write_bytes(shard(0))
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=says):
        load(tmp_path, type="jsonl_shards", path=".")


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to more than a row may be is told, not read."""
    monkeypatch.setattr("rft_data_tables.shards.MAX_ROW_BYTES", 10_000)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"[" * 1_000_000))
    with pytest.raises(DataError, match=r"a\.jsonl\.gz:1: the row is longer than 10000 bytes"):
        load(tmp_path, type="jsonl_shards", path=".")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.tuples(st.text().filter(lambda t: "\0" not in t), JSON_VALUES), min_size=1, max_size=5))
def test_any_table_survives_csv(tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, Any]]) -> None:
    """What the csv module and json write comes back as it was."""
    import csv

    folder = tmp_path_factory.mktemp("csv")
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["q", "v"])
        writer.writerows([text, json.dumps(value)] for text, value in values)
    source = load(folder, type="csv", path="t.csv", prompt="-{{item.q}}", json_columns=["v"])
    assert [(row["q"], row["v"]) for row in rows(source)] == values
