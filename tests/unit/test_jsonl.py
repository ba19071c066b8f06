"""`rft_core.jsonl`: a file of lines as rows by position, whatever a line holds."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rft_core import DataSource
from rft_core.contract import check_data_source
from rft_core.errors import DataError
from rft_core.jsonl import JsonlFile
from rft_core.rows import parse_row

GOOD = b'{"messages": [{"role": "user", "content": "q"}], "answer": "a"}'


def numbered(count: int) -> list[bytes]:
    return [GOOD.replace(b'"a"', b'"%d"' % i) for i in range(count)]


def load(folder: Path, data: bytes, **settings: Any) -> JsonlFile:
    (folder / "rows.jsonl").write_bytes(data)
    return JsonlFile(folder / "rows.jsonl", parse_row, **settings)


def keys(source: JsonlFile) -> list[str]:
    return [source.item(i).key for i in range(len(source))]


def answers(source: JsonlFile) -> list[str]:
    return [source.item(i).row["answer"] for i in range(len(source))]


def test_it_is_a_data_source(tmp_path: Path) -> None:
    """It keeps the contract; the rows are those that its function makes of the lines."""
    data = b"\n".join(numbered(3))
    check_data_source(lambda: load(tmp_path, data))
    source = load(tmp_path, data)
    assert isinstance(source, DataSource)
    assert answers(source) == ["0", "1", "2"]
    assert source.item(1).index == 1


def test_checked_lines_may_be_read_another_way(tmp_path: Path) -> None:
    """The pass at the start uses `parse`, a row that is asked for `read`; both get the line without white space."""
    (tmp_path / "rows.jsonl").write_bytes(b" 1\r\n\t22 ")
    parsed: list[bytes] = []

    def parse(line: bytes) -> dict[str, Any]:
        parsed.append(line)
        return {}

    source = JsonlFile(tmp_path / "rows.jsonl", parse, read=lambda line: {"number": int(line)})
    assert [source.item(i).row for i in range(2)] == [{"number": 1}, {"number": 22}]
    assert parsed == [b"1", b"22"]


def test_columns_are_those_of_the_file(tmp_path: Path) -> None:
    """White space before a row counts: the column is the place in the line as it stands in the file."""
    with pytest.raises(DataError) as caught:
        load(tmp_path, b" \t {,")
    assert (caught.value.file, caught.value.line, caught.value.column) == ("rows.jsonl", 1, 5)
    source = load(tmp_path, GOOD + b"\n \t {,\n{}\n", on_bad_row="skip")
    assert [(skipped.line, skipped.column) for skipped in source.skipped] == [(2, 5), (3, None)]


def test_a_bad_row_may_come_without_a_hint(tmp_path: Path) -> None:
    """The reason is then the problem alone, and other exceptions than DataError are no bad rows."""

    def parse(line: bytes) -> dict[str, Any]:
        if line == b"bad":
            raise DataError("it is bad")
        return {"number": int(line)}

    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"1\nbad")
    assert [skipped.reason for skipped in JsonlFile(file, parse, on_bad_row="skip").skipped] == ["it is bad"]
    with pytest.raises(DataError, match=r"^rows\.jsonl:2: it is bad$"):
        JsonlFile(file, parse)
    file.write_bytes(b"1\nx")
    with pytest.raises(ValueError, match="invalid literal"):
        JsonlFile(file, parse, on_bad_row="skip")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n  \n\t\r\n"])
def test_blank_lines_and_line_ends_do_not_matter(tmp_path: Path, end: bytes) -> None:
    """Blank lines, CRLF and a missing final newline are tolerated; keys carry the line of the file."""
    plain = load(tmp_path, GOOD + b"\n" + GOOD)
    (tmp_path / "other").mkdir()
    source = load(tmp_path / "other", end + GOOD + end + b"  " + GOOD + b" ")
    assert len(source) == 2
    ends = end.count(b"\n")
    assert keys(source) == [f"rows.jsonl:{ends + 1}", f"rows.jsonl:{2 * ends + 1}"]
    assert source.item(1).row["answer"] == "a"
    assert source.fingerprint() == plain.fingerprint()


def test_offset_and_limit_split_a_file(tmp_path: Path) -> None:
    """Two selections that meet share no row and miss none, even where bad rows are skipped."""
    rows = numbered(10)
    rows[2] = rows[7] = b"bad"
    data = b"\n".join(rows)
    first = load(tmp_path, data, limit=5, on_bad_row="skip")
    rest = load(tmp_path, data, offset=5, on_bad_row="skip")
    assert answers(first) == ["0", "1", "3", "4"]
    assert answers(rest) == ["5", "6", "8", "9"]
    assert [s.line for s in (*first.skipped, *rest.skipped)] == [3, 8]
    assert first.fingerprint() != rest.fingerprint()
    assert len(load(tmp_path, data, offset=3, limit=4)) == 4


@pytest.mark.parametrize(
    ("data", "settings", "says"),
    [
        (b"", {}, "the file is empty"),
        (b" \n\n", {}, "the file is empty"),
        (GOOD, {"offset": 1}, "offset 1 passes over all 1 rows"),
        (b"bad\nbad", {"on_bad_row": "skip"}, "no row can be used; the first error is: rows.jsonl:1:1"),
    ],
)
def test_no_rows_is_an_error(tmp_path: Path, data: bytes, settings: dict[str, Any], says: str) -> None:
    """A source that would be empty says why."""
    with pytest.raises(DataError, match=says):
        load(tmp_path, data, **settings)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    """A misspelt path gives the nearest file; a folder is refused."""
    (tmp_path / "rows.jsonl").write_bytes(GOOD)
    with pytest.raises(DataError, match=r"did you mean 'rows\.jsonl'"):
        JsonlFile(tmp_path / "row.jsonl", parse_row)
    with pytest.raises(DataError, match="is a folder"):
        JsonlFile(tmp_path, parse_row)


def test_a_line_without_end_cannot_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line over the limit is one bad row; the rows after it keep their line and bytes."""
    monkeypatch.setattr("rft_core.jsonl.MAX_ROW_BYTES", 1000)
    data = GOOD + b"\n" + b"x" * 3500 + b"\n" + GOOD
    source = load(tmp_path, data, on_bad_row="skip")
    assert keys(source) == ["rows.jsonl:1", "rows.jsonl:3"]
    assert "longer than 1000 bytes" in source.skipped[0].reason


@pytest.mark.parametrize("change", ["edit", "truncate"])
def test_a_file_that_changes_under_the_run_is_noticed(tmp_path: Path, change: str) -> None:
    """Other bytes, or none, where a row was are an error that names the line, never another row."""
    source = load(tmp_path, GOOD + b"\n" + GOOD)
    with (tmp_path / "rows.jsonl").open("r+b") as handle:
        if change == "edit":
            handle.seek(len(GOOD) + 1 + GOOD.index(b'"q"') + 1)
            handle.write(b"Q")
        else:
            handle.truncate(len(GOOD) + 10)
    assert source.item(0).row["answer"] == "a"
    with pytest.raises(DataError, match=r"rows\.jsonl:2: the file was changed"):
        source.item(1)


def test_fingerprint_follows_the_selected_bytes(tmp_path: Path) -> None:
    """A changed row changes the fingerprint; a change outside the selection does not."""
    before = load(tmp_path, GOOD + b"\n" + GOOD, limit=1).fingerprint()
    other = GOOD.replace(b'"a"', b'"b"')
    assert load(tmp_path, GOOD + b"\n" + other, limit=1).fingerprint() == before
    assert load(tmp_path, other + b"\n" + GOOD, limit=1).fingerprint() != before


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    """Eight threads that read all rows at once each see every row right."""
    source = load(tmp_path, b"\n".join(numbered(300)))
    seen: list[list[str]] = []
    threads = [threading.Thread(target=lambda: seen.append(answers(source))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[str(i) for i in range(300)]] * 8


def test_close_gives_the_file_back(tmp_path: Path) -> None:
    """No file descriptor stays open, whether the source is closed, dropped, or never came to be."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    source = load(tmp_path, GOOD)
    source.close()
    source.close()
    load(tmp_path, GOOD)
    with pytest.raises(DataError):
        load(tmp_path, b"bad")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_position_outside_the_source_is_an_index_error(tmp_path: Path) -> None:
    """There is no counting from the end."""
    source = load(tmp_path, GOOD)
    for index in (-1, 1):
        with pytest.raises(IndexError):
            source.item(index)
