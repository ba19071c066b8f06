"""The layouts in which people keep preference pairs, as rows with a prompt and two completions.

    {"input": {"messages": [...], "tools": [...]}, "preferred_output": [...], "non_preferred_output": [...]}
    {"messages": [...], "chosen": …, "rejected": …}
    {"prompt": "…" or [...], "chosen": …, "rejected": …}
    {"chosen": [...], "rejected": [...]}            two conversations that differ in the last message
    {"chosen": "\\n\\nHuman: …\\n\\nAssistant: …", "rejected": …}    the same as text, as in HH-RLHF

The first is OpenAI's, the others are those of the Hugging Face hub. A completion (…) is a text, a message,
or a list that ends in one message of the assistant and may repeat the prompt before it. The row that comes
out has `messages`, `chosen` and `rejected` as texts, `tools` if there were any, and all other keys as they were.

Sources: https://platform.openai.com/docs/guides/direct-preference-optimization,
https://huggingface.co/docs/trl/dataset_formats#preference, https://huggingface.co/datasets/Anthropic/hh-rlhf

DataError, without a place, for what is none of these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rft_core.errors import DataError
from rft_core.rows import check_row, content_text
from rft_core.types import Json
from rft_preference.completions import completion_text, same_message

OPENAI = ("input", "preferred_output", "non_preferred_output")
BOTH = ("chosen", "rejected")
_TURN = re.compile(r"\n\n(Human|Assistant):")
_EXAMPLE = '{"messages": [{"role": "user", "content": "…"}], "chosen": "…", "rejected": "…"}'


def pair_row(raw: Json) -> dict[str, Json]:
    """One pair of any layout as a checked row. DataError also for a pair whose chosen completion is empty, and for one
    whose completions are equal; the rejected one may be empty."""
    if not isinstance(raw, Mapping):
        raise DataError("the row is not an object", hint=f"write {_EXAMPLE}")
    row = _openai(raw) if "preferred_output" in raw or "non_preferred_output" in raw else _hub(raw)
    check_row(row)
    row = {**row, **{key: _text(row, key) for key in BOTH}}
    if not row["chosen"]:
        raise DataError("'chosen' is empty", hint="write the completion that is preferred, or remove the row")
    if row["chosen"] == row["rejected"]:
        raise DataError("'chosen' and 'rejected' are the same text", hint="remove the row: it prefers nothing")
    return row


def _text(row: Mapping[str, Json], key: str) -> str:
    if isinstance(row[key], int | float):
        raise DataError(f"'{key}' is {json.dumps(row[key])}, not a text", hint="write it in quotes")
    try:
        return completion_text(row[key], row["messages"])
    except DataError as error:
        raise DataError(f"'{key}' {error.problem}", hint=error.hint) from None


def _openai(raw: Mapping[str, Json]) -> dict[str, Json]:
    if missing := [key for key in OPENAI if key not in raw]:
        raise DataError(f"the row has no key '{missing[0]}'", hint=f"a pair in OpenAI's layout has {', '.join(OPENAI)}")
    given = raw["input"]
    if not isinstance(given, Mapping) or "messages" not in given:
        raise DataError("'input' has no 'messages'", hint='write "input": {"messages": [...]}')
    tools = {"tools": given["tools"]} if given.get("tools") else {}
    rest = {key: value for key, value in raw.items() if key not in OPENAI}
    return {
        **rest,
        "messages": given["messages"],
        **tools,
        "chosen": raw["preferred_output"],
        "rejected": raw["non_preferred_output"],
    }


def _hub(raw: Mapping[str, Json]) -> dict[str, Json]:
    if missing := [key for key in BOTH if key not in raw]:
        raise DataError(f"the row has no key '{missing[0]}'", hint=f"write {_EXAMPLE}")
    row = dict(raw)
    if "messages" in row:
        return row
    if "prompt" in row:
        prompt = row.pop("prompt")
        return {**row, "messages": [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt}
    both = [_conversation(row[key], key) for key in BOTH]
    prompt, *ends = _parted(*both)
    return {**row, "messages": prompt, **dict(zip(BOTH, ends, strict=True))}


def _conversation(value: Json, key: str) -> Sequence[Mapping[str, Any]]:
    """A whole conversation: a list of messages, or a text with the marks of HH-RLHF."""
    if isinstance(value, str) and _TURN.match(value):
        _, *pieces = _TURN.split(value)
        roles = {"Human": "user", "Assistant": "assistant"}
        return [
            {"role": roles[who], "content": text.strip()} for who, text in zip(pieces[::2], pieces[1::2], strict=True)
        ]
    if isinstance(value, list) and value and all(isinstance(message, Mapping) for message in value):
        return value
    raise DataError(
        f"the row has no prompt, and '{key}' is no conversation that holds one", hint=f"add the prompt: {_EXAMPLE}"
    )


def _parted(
    chosen: Sequence[Mapping[str, Any]], rejected: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """What the two share, which is the prompt, and the last message of each."""
    prompt, other = list(chosen[:-1]), list(rejected[:-1])
    if len(prompt) != len(other) or not all(map(same_message, prompt, other)):
        raise DataError(
            "the conversations 'chosen' and 'rejected' part before their last messages",
            hint="a pair is two answers to one prompt: cut both after the first answer that differs",
        )
    if not any(content_text(message) for message in prompt):
        raise DataError("the conversations 'chosen' and 'rejected' hold no prompt", hint=f"write {_EXAMPLE}")
    return prompt, list(chosen[-1:]), list(rejected[-1:])
