"""The data source `jsonl`: what it reads, and what it says about what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rft_core import DataSource
from rft_core.errors import DataError
from rft_core.strict_json import MAX_DEPTH
from rft_data_jsonl.config import JsonlConfig
from rft_data_jsonl.source import JsonlSource

GOOD = b'{"messages": [{"role": "user", "content": "q"}], "answer": "a"}'
USER = '"messages": [{"role": "user", "content": "q"}]'


def message(content: str) -> bytes:
    return f'{{"messages": [{{"role": "user", "content": {content}}}]}}'.encode()


def messages(value: str) -> bytes:
    return f'{{"messages": {value}}}'.encode()


# name, the row, column (None: not known), part of the problem, part of the hint
BAD_ROWS = [
    ("not_json", b"hello", 1, "expecting value", "one JSON object"),
    ("byte_order_mark", b"\xef\xbb\xbf" + GOOD, 1, "BOM", "UTF-8 without BOM"),
    ("utf16", GOOD.decode().encode("utf-16"), 1, "UTF-16", "UTF-8"),
    ("latin1", '{"messages": "é"}'.encode("latin-1"), 15, "0xe9 is not UTF-8", "save the file as UTF-8"),
    ("nul_bytes", b'{"a": \x00}', 7, "NUL", "UTF-8"),
    ("gzip", b"\x1f\x8b\x08\x00abc", 1, "compressed", "unpack"),
    ("json_array", b"[" + GOOD + b"]", 1, "a list", "one object per line"),
    ("array_opened", b"[", 2, "expecting value", "one line, whole"),
    ("pretty_printed", b"{", 2, "expecting property name", "without indent"),
    ("comma_after_row", GOOD + b",", len(GOOD) + 1, "extra data", "no commas between lines"),
    ("two_rows_on_a_line", GOOD + b" " + GOOD, len(GOOD) + 2, "extra data", "its own line"),
    ("trailing_comma", f"{{{USER},}}".encode(), 1 + len(USER) + 1, "comma stands before", "remove the comma"),
    ("missing_comma", f'{{{USER} "a": 1}}'.encode(), 1 + len(USER) + 2, "expecting ',' delimiter", "comma is missing"),
    ("single_quotes", b"{'messages': []}", 2, "expecting property name", "double quotes"),
    ("typographic_quotes", "{“messages”: []}".encode(), 2, "expecting property name", "typographic"),
    ("unquoted_key", b"{messages: []}", 2, "expecting property name", "keys stand in double quotes"),
    ("python_literals", f'{{{USER}, "a": None}}'.encode(), 1 + len(USER) + 8, "expecting value", "null, true, false"),
    ("comment", f'{{{USER}}} // why'.encode(), 1 + len(USER) + 3, "extra data", "no comments"),
    ("cut_off_string", b'{"messages": [{"role": "user", "content": "half', 43, "unterminated string", "cut off"),
    ("raw_tab_in_string", message('"a\tb"'), 45, "invalid control character", "tabs as"),
    ("bad_escape", message(r'"\d"'), 44, "invalid \\escape", "two"),
    ("nan", f'{{{USER}, "s": "NaN", "a": NaN}}'.encode(), 1 + len(USER) + 20, "NaN is not a JSON number", "null"),
    ("infinity", f'{{{USER}, "a": -Infinity}}'.encode(), 1 + len(USER) + 8, "-Infinity", "null"),
    ("overflow", f'{{{USER}, "a": 1e999}}'.encode(), 1 + len(USER) + 8, "1e999", "null"),
    ("integer_overflow", f'{{{USER}, "a": -{"9" * 309}}}'.encode(), 1 + len(USER) + 8, "too many digits", "string"),
    ("too_many_digits", f'{{{USER}, "a": {"9" * 5000}}}'.encode(), 1 + len(USER) + 8, "too many digits", "string"),
    ("duplicate_key", f'{{{USER}, "a": 1, "a": 2}}'.encode(), None, '"a" stands twice', "keep one"),
    ("deep_nesting", f'{{{USER}, "a": {"[" * MAX_DEPTH}{"]" * MAX_DEPTH}}}'.encode(), None, "deeper than", "flatten"),
    ("absurd_nesting", b"[" * 100_000, None, "deeper than", "flatten"),
    ("lone_surrogate", message(r'"\ud800"'), None, "surrogate", "pair"),
    ("encoded_twice", json.dumps(GOOD.decode()).encode(), 1, "a string, not an object", "json.dumps once"),
    ("number", b"17", 1, "a number, not an object", "one JSON object"),
    ("null", b"null", 1, "null, not an object", "one JSON object"),
    ("no_messages", b'{"answer": "a"}', None, "no key 'messages'", 'add "messages"'),
    ("prompt_completion", b'{"prompt": "q", "completion": "a"}', None, "no key 'messages'", "'completion' to 'reference_answer'"),
    ("misspelt_messages", b'{"Message": []}', None, "no key 'messages'", "rename 'Message'"),
    ("question_key", b'{"question": "q"}', None, "no key 'messages'", "turn 'question' into"),
    ("messages_string", messages('"q"'), None, "a string, not a list", "write"),
    ("messages_empty", messages("[]"), None, "'messages' is empty", "at least one message"),
    ("message_string", messages('["q"]'), None, "messages[0] is a string", "role"),
    ("sharegpt", messages('[{"from": "human", "value": "q"}]'), None, "no key 'role'", "rename 'from'"),
    ("no_role", messages('[{"content": "q"}]'), None, "no key 'role'", "add one of"),
    ("role_number", messages('[{"role": 1, "content": "q"}]'), None, "role is a number", "use one of"),
    ("role_alias", messages('[{"role": "human", "content": "q"}]'), None, "unknown role \"human\"", "write 'user'"),
    ("role_case", messages('[{"role": "User", "content": "q"}]'), None, "unknown role \"User\"", "write 'user'"),
    ("no_content", messages('[{"role": "user"}]'), None, "no key 'content'", "write"),
    ("content_null", message("null"), None, "content is null", "string"),
    ("content_number", message("4"), None, "content is a number", "string"),
    ("content_empty_list", message("[]"), None, "empty list", "string"),
    ("image", message('[{"type": "image_url", "image_url": {"url": "x"}}]'), None, "images are not supported", "remove"),
    ("audio", message('[{"type": "input_audio", "input_audio": {}}]'), None, "audio are not supported", "remove"),
    ("file", message('[{"type": "file", "file": {}}]'), None, "files are not supported", "remove"),
    ("part_string", message('["q"]'), None, "not a text part", '"type": "text"'),
    ("assistant_last", messages('[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]'), None, "role assistant", "reference_answer"),
    ("developer_last", messages('[{"role":"developer","content":"d"}]'), None, "role developer", "add the user's message"),
    ("tools_object", f'{{{USER}, "tools": {{}}}}'.encode(), None, "'tools' is an object", "write"),
    ("tool_shape", f'{{{USER}, "tools": [{{"name": "f"}}]}}'.encode(), None, "tools[0] is not a function", "write"),
    ("tool_name", f'{{{USER}, "tools": [{{"type":"function","function":{{"name":"a b"}}}}]}}'.encode(), None, "function.name", "rename"),
    ("tool_parameters", f'{{{USER}, "tools": [{{"type":"function","function":{{"name":"f","parameters":[]}}}}]}}'.encode(), None, "parameters is a list", "schema"),
]  # fmt: skip


def write(folder: Path, data: bytes) -> Path:
    (folder / "rows.jsonl").write_bytes(data)
    return folder


def load(folder: Path, data: bytes, **settings: object) -> JsonlSource:
    return JsonlSource(JsonlConfig(path="rows.jsonl", **settings), write(folder, data))


def keys(source: JsonlSource) -> list[str]:
    return [source.item(i).key for i in range(len(source))]


@pytest.mark.parametrize("line", [1, 3, 5], ids=["first", "middle", "last"])
@pytest.mark.parametrize(("name", "row", "column", "problem", "hint"), BAD_ROWS, ids=[row[0] for row in BAD_ROWS])
def test_a_bad_row_is_located_and_explained(
    tmp_path: Path, name: str, row: bytes, column: int | None, problem: str, hint: str, line: int
) -> None:
    """D1: every kind of malformed row, at any position, gives file, line, column where known, and a hint."""
    rows = [GOOD] * 5
    rows[line - 1] = row
    with pytest.raises(DataError) as caught:
        load(tmp_path, b"\n".join(rows) + b"\n")
    error = caught.value
    assert (error.file, error.line, error.column) == ("rows.jsonl", line, column)
    assert problem.lower() in error.problem.lower()
    assert hint in (error.hint or "")
    place = f"rows.jsonl:{line}" if column is None else f"rows.jsonl:{line}:{column}"
    assert str(error) == f"{place}: {error.problem}; {error.hint}"


@pytest.mark.parametrize(("name", "row", "column", "problem", "hint"), BAD_ROWS, ids=[row[0] for row in BAD_ROWS])
def test_a_bad_row_can_be_skipped_and_is_counted(
    tmp_path: Path, name: str, row: bytes, column: int | None, problem: str, hint: str
) -> None:
    """D1: with `on_bad_row: skip` the row is left out, its line and reason are told, the others stay."""
    source = load(tmp_path, b"\n".join([GOOD, row, GOOD]), on_bad_row="skip")
    assert keys(source) == ["rows.jsonl:1", "rows.jsonl:3"]
    assert [(skipped.line, skipped.column) for skipped in source.skipped] == [(2, column)]
    assert problem.lower() in source.skipped[0].reason.lower()


def test_integers_up_to_the_largest_double_are_read(tmp_path: Path) -> None:
    """Whatever a double can hold is a number, with all of its digits."""
    numbers = [10**308 + 1, -(10**308), int(1.7976931348623157e308), 0]
    source = load(tmp_path, f'{{{USER}, "a": {numbers}}}'.encode())
    assert source.item(0).row["a"] == numbers
    with pytest.raises(DataError, match="too many digits"):
        load(tmp_path, f'{{{USER}, "a": [{10**309}]}}'.encode())


def test_there_are_at_least_thirty_kinds() -> None:
    """D1 promises 30 kinds; names are unique."""
    assert len({row[0] for row in BAD_ROWS}) == len(BAD_ROWS) >= 30


def test_good_rows_come_out_as_they_are(tmp_path: Path) -> None:
    """All of the format is accepted and kept: every role, text parts, tool calls, tools and free keys."""
    row = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "developer", "content": [{"type": "text", "text": "d"}]},
            {"role": "user", "content": "ü 😀   "},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "17"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "answer": {"x": [1, 2.5, None, True]},
    }
    source = load(tmp_path, json.dumps(row).encode() + b"\n" + json.dumps(row, ensure_ascii=False).encode())
    assert isinstance(source, DataSource)
    assert [source.item(i).row for i in range(2)] == [row, row]
    assert source.item(1).index == 1


def test_the_file_and_its_rows_are_chosen_by_the_settings(tmp_path: Path) -> None:
    """`path` starts at the folder of the run file; `offset` and `limit` count rows."""
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", b"\n".join([GOOD] * 5))
    source = JsonlSource(JsonlConfig(path="data/rows.jsonl", offset=1, limit=2), tmp_path)
    assert keys(source) == ["rows.jsonl:2", "rows.jsonl:3"]
