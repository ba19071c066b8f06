"""JSON as the standard has it: what Python's reader lets pass silently is an error here.

Refused beside bad syntax: NaN and infinities, numbers that overflow a double, duplicate keys, lone
surrogates (they cannot be written as UTF-8), and nesting deeper than `MAX_DEPTH`. Every error is a
`DataError` with the column (from 1, in characters) as far as it is known, and a hint.
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

from rft_core.errors import DataError
from rft_core.types import Json

MAX_DEPTH = 64

_SAFE_DIGITS = 308
"""An integer of so many digits is within a double's range."""

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(?P<constant>-?Infinity|NaN)|(?P<number>-?\d[\d.eE+-]*)')
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_QUOTES = "“”„‟«»"


def loads(text: str) -> Json:
    """The value of a JSON text. DataError, with column and hint, if it is not strict JSON."""
    if text.startswith("\ufeff"):
        raise DataError("the text starts with a byte order mark (BOM)", column=1, hint="save it as UTF-8 without BOM")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _syntax_error(text, error) from None
    except _NotFiniteError as error:
        column = _column(text, str(error))
        raise DataError(
            f"{error} is not a JSON number", column=column, hint="write null, or leave the key out"
        ) from None
    except _TooLargeError as error:
        column = _column(text, str(error))
        raise DataError("a number has too many digits", column=column, hint="write it as a string") from None
    except RecursionError:
        raise _too_deep() from None
    # Only a text with so many brackets can be nested so deep; counting them is cheap.
    if (
        text.count("{") + text.count("[") > MAX_DEPTH
        and isinstance(value, dict | list)
        and _depth_exceeds(value, MAX_DEPTH)
    ):
        raise _too_deep()
    if _SURROGATE.search(text):
        _refuse_lone_surrogates(value)
    return value


class _NotFiniteError(ValueError):
    """Carries the text of a number that no double holds."""


class _TooLargeError(ValueError):
    """Carries the text of an integer that no double holds."""


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DataError(
                    f"the key {json.dumps(key)[:80]} stands twice in one object", hint="keep one of the two"
                )
            seen.add(key)
    return found


def _constant(name: str) -> NoReturn:
    raise _NotFiniteError(name)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotFiniteError(text)
    return number


def _int(text: str) -> int:
    if len(text) > _SAFE_DIGITS and not math.isfinite(float(text)):
        raise _TooLargeError(text)
    return int(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int)
"""Made once: `json.loads` with hooks makes one for each text, which takes as long as a short row."""


def _column(text: str, token: str) -> int | None:
    for match in _TOKEN.finditer(text):
        if match.group() == token:
            return match.start() + 1
    return None


def _too_deep() -> DataError:
    return DataError(
        f"the value is nested deeper than {MAX_DEPTH} levels", hint="flatten it, or store the inner part as a string"
    )


def _depth_exceeds(value: Json, limit: int) -> bool:
    containers = [value]
    for _ in range(limit):
        children = (child for node in containers for child in (node.values() if isinstance(node, dict) else node))
        containers = [child for child in children if isinstance(child, dict | list)]
        if not containers:
            return False
    return True


def _refuse_lone_surrogates(value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DataError(
            "a string holds half of a surrogate pair (\\ud800 to \\udfff), which is no character",
            hint="write the pair, or the character itself",
        ) from None


def _syntax_error(text: str, error: json.JSONDecodeError) -> DataError:
    # Python names a trailing comma and its place differently from 3.13 on: one wording for all.
    comma = error.pos if text[error.pos : error.pos + 1] == "," else len(text[: error.pos].rstrip()) - 1
    if error.msg != "Extra data" and text[comma : comma + 1] == "," and text[comma + 1 :].lstrip()[:1] in ("}", "]"):
        return DataError("a comma stands before a closing bracket", column=comma + 1, hint="remove the comma")
    message = error.msg[:1].lower() + error.msg[1:]
    return DataError(message, column=error.pos + 1, hint=_hint(text, error))


def _hint(text: str, error: json.JSONDecodeError) -> str:
    rest = text[error.pos :].lstrip()
    before = text[: error.pos].rstrip()
    for applies, hint in (
        (error.msg == "Extra data", _extra_data_hint(before, rest)),
        (
            error.msg.startswith("Unterminated string"),
            "the string does not end on this line: the row is cut off, or a line break in it is not written as \\n",
        ),
        (error.msg.startswith("Invalid control character"), "write line breaks in strings as \\n and tabs as \\t"),
        (error.msg.startswith("Invalid \\"), "write a backslash in a string as two: \\\\"),
        (rest[:1] == "'", "JSON strings stand in double quotes; write the file with json.dumps, not str()"),
        (rest[:1] in tuple(_QUOTES), 'replace the typographic quotes by plain ones (")'),
        (
            rest.startswith(("None", "True", "False")),
            "this is Python, not JSON: write null, true, false (json.dumps does)",
        ),
        (rest.startswith(("undefined", "nan", "inf")), "write null, or leave the key out"),
        (rest.startswith(("//", "/*", "#")), "JSON has no comments: remove it"),
        (rest == "", "the row ends here: one row must stand on one line, whole (json.dumps without indent)"),
        (error.msg.startswith("Expecting property name"), "keys stand in double quotes"),
        (
            error.msg.startswith("Expecting ','"),
            'a comma is missing here, or a quote inside a string is not written as \\"',
        ),
    ):
        if applies:
            return hint
    return "each line must be one JSON object"


def _extra_data_hint(before: str, rest: str) -> str:
    if rest.startswith("{"):
        return "two objects on one line: put each row on its own line"
    if rest.startswith(",") and before.endswith("}"):
        return "remove the comma after the row: JSONL has no commas between lines"
    if rest.startswith(("//", "/*", "#")):
        return "JSON has no comments: remove it"
    return "remove what follows the object, each line must be one JSON object"
