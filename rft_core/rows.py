"""A data row: what it must look like, whoever supplies it.

    {"messages": [{"role": "user", "content": "..."}], "tools": [...], "any_key": any JSON}

`messages` is the prompt and the only required key; `messages` and `tools` are reserved, every other
key is free and reaches graders as `item.<key>`. Roles are developer (or its alias system), user,
assistant and tool; the model continues after the last message, which must be of role user or tool.
Content is a string or a list of text parts.

Source: https://platform.openai.com/docs/api-reference/fine-tuning/reinforcement-input

Every function raises `DataError` without a place; the source that knows file and line adds it with
`DataError.located`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from rft_core import strict_json
from rft_core.errors import DataError
from rft_core.types import Json, Row

ROLES = ("developer", "system", "user", "assistant", "tool")
LAST_ROLES = ("user", "tool")

_ROLE_ALIASES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "function": "tool",
}
_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PROMPT_HINT = '"messages": [{"role": "user", "content": "..."}]'
_MEDIA = {
    "image_url": "images",
    "input_image": "images",
    "image": "images",
    "input_audio": "audio",
    "audio": "audio",
    "file": "files",
    "input_file": "files",
}


def parse_row(line: bytes) -> dict[str, Json]:
    """One line of a JSONL file as a checked row. DataError with column and hint otherwise."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(line, error) from None
    if "\0" in text:
        raise DataError(
            "the row holds NUL bytes",
            column=text.index("\0") + 1,
            hint="the file is cut off, or UTF-16: save it as UTF-8",
        )
    row: dict[str, Json] = strict_json.loads(text)
    check_row(row)
    return row


def check_row(row: Json) -> None:
    """DataError unless `row` is a row as described above."""
    if not isinstance(row, Mapping):
        raise DataError(f"the row is {_kind(row)}, not an object", column=1, hint=_not_an_object_hint(row))
    if "messages" not in row:
        raise DataError("the row has no key 'messages'", hint=_no_messages_hint(row))
    messages = row["messages"]
    if not isinstance(messages, list):
        raise DataError(f"'messages' is {_kind(messages)}, not a list", hint=f"write {_PROMPT_HINT}")
    if not messages:
        raise DataError("'messages' is empty", hint="a prompt needs at least one message, from the user")
    for position, message in enumerate(messages):
        _check_message(message, f"messages[{position}]")
    last = messages[-1]["role"]
    if last not in LAST_ROLES:
        if last == "assistant":
            hint = "the model writes the answer itself: move it to a key of its own, such as 'reference_answer', and let the grader compare with it"
        else:
            hint = "add the user's message after it"
        raise DataError(f"the last message has the role {last}, it must be user or tool", hint=hint)
    if "tools" in row:
        _check_tools(row["tools"])


def content_text(message: Mapping[str, Json]) -> str:
    """The text of a message: its content string, its text parts joined, or "" if it has none."""
    content = message.get("content")
    if content is None:
        return ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def prompt_text(row: Row) -> str:
    """The texts of all messages of a row, joined by line breaks."""
    return "\n".join(content_text(message) for message in row["messages"])


def _check_message(message: Json, where: str) -> None:
    if not isinstance(message, dict):
        raise DataError(f"{where} is {_kind(message)}, not an object", hint='write {"role": "user", "content": "..."}')
    role = message.get("role")
    if role not in ROLES:
        _refuse_role(message, where)
    content = message.get("content")
    if isinstance(content, str):
        return
    if isinstance(content, list):
        _check_parts(content, f"{where}.content")
        return
    if content is None and role == "assistant" and message.get("tool_calls"):
        return
    if "content" not in message:
        raise DataError(f"{where} has no key 'content'", hint='write {"role": "user", "content": "..."}')
    raise DataError(
        f"{where}.content is {_kind(content)}, not a string",
        hint="write the text as a string, or as a list of text parts",
    )


def _refuse_role(message: Mapping[str, Json], where: str) -> None:
    if "role" not in message:
        hint = (
            "rename 'from' to 'role' and 'value' to 'content'"
            if "from" in message
            else f"add one of {', '.join(ROLES)}"
        )
        raise DataError(f"{where} has no key 'role'", hint=hint)
    role = message["role"]
    if not isinstance(role, str):
        raise DataError(f"{where}.role is {_kind(role)}, not a string", hint=f"use one of {', '.join(ROLES)}")
    nearest = _ROLE_ALIASES.get(role.lower()) or (role.lower() if role.lower() in ROLES else None)
    raise DataError(
        f"{where} has the unknown role {json.dumps(role)[:80]}",
        hint=f"write '{nearest}'" if nearest else f"use one of {', '.join(ROLES)}",
    )


def _check_parts(parts: list[Json], where: str) -> None:
    if not parts:
        raise DataError(f"{where} is an empty list", hint="write the text as a string")
    for position, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "input_text") and isinstance(part.get("text"), str):
            continue
        if isinstance(kind, str) and kind in _MEDIA:
            raise DataError(
                f"{where}[{position}] is of type {kind}: {_MEDIA[kind]} are not supported, only text is",
                hint="remove the row or the part",
            )
        raise DataError(f"{where}[{position}] is not a text part", hint='write {"type": "text", "text": "..."}')


def _check_tools(tools: Json) -> None:
    if not isinstance(tools, list):
        raise DataError(
            f"'tools' is {_kind(tools)}, not a list",
            hint='write "tools": [{"type": "function", "function": {"name": "..."}}]',
        )
    for position, tool in enumerate(tools):
        where = f"tools[{position}]"
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            raise DataError(
                f"{where} is not a function",
                hint='write {"type": "function", "function": {"name": "...", "parameters": {...}}}',
            )
        name = function.get("name")
        if not isinstance(name, str) or not _FUNCTION_NAME.fullmatch(name):
            raise DataError(
                f"{where}.function.name is not 1 to 64 of the characters A-Z a-z 0-9 _ -", hint="rename the function"
            )
        if not isinstance(function.get("parameters", {}), dict):
            raise DataError(
                f"{where}.function.parameters is {_kind(function['parameters'])}, not an object",
                hint="write its JSON schema",
            )


def _no_messages_hint(row: Mapping[str, Json]) -> str:
    if "preferred_output" in row or {"chosen", "rejected"} <= row.keys():
        return "a file of preference pairs is read by {type: preferences, path: …}"
    if "prompt" in row:
        other = " and 'completion' to 'reference_answer'" if "completion" in row else ""
        return f"turn 'prompt' into {_PROMPT_HINT}{other}"
    for key in ("conversations", "conversation", "input", "question", "text", "instruction"):
        if key in row:
            return f"turn '{key}' into {_PROMPT_HINT}"
    close = next((key for key in row if key.strip().lower().rstrip("s") == "message"), None)
    return f"rename '{close}' to 'messages'" if close else f"add {_PROMPT_HINT}"


def _not_an_object_hint(row: Json) -> str:
    if isinstance(row, list):
        return "the file is a JSON array, or a row stands in brackets: write one object per line, without brackets or commas"
    if isinstance(row, str) and row.lstrip().startswith("{"):
        return "the row was encoded twice: call json.dumps once"
    return "each line must be one JSON object"


def _not_utf8(line: bytes, error: UnicodeDecodeError) -> DataError:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        return DataError("the file is UTF-16", column=1, hint="save it as UTF-8 without BOM")
    if line.startswith((b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")):
        return DataError("the file is compressed", column=1, hint="unpack it first")
    column = len(line[: error.start].decode("utf-8", "replace")) + 1
    return DataError(f"byte 0x{line[error.start]:02x} is not UTF-8", column=column, hint="save the file as UTF-8")


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    return {bool: "a boolean", str: "a string", list: "a list", dict: "an object"}.get(type(value), "a number")
