"""What people write where a completion is wanted: a text, a message, or the end of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rft_core.errors import DataError
from rft_core.rows import content_text
from rft_core.template import compile_template, to_text
from rft_core.types import Json, Row


def completion_of(template: str, row: Row) -> str:
    """The completion that a template over a row names. A template that is one variable may name a message or a
    list of messages, any other gives its text. MissingVariableError for a variable without a value; DataError,
    without the row's key, for a value that is no completion."""
    compiled = compile_template(template)
    if len(compiled.parts) == 1 and not isinstance(compiled.parts[0], str):
        return completion_text(compiled.parts[0].find({"item": row}), row.get("messages") or ())
    return compiled.render({"item": row})


def completion_text(value: Json, prompt: Sequence[Mapping[str, Json]]) -> str:
    """The text of a completion of `prompt`: a string or number, a message of the assistant, or a list of
    messages that is one such message, with or without the prompt before it. DataError for anything else."""
    if isinstance(value, str | int | float):
        return to_text(value)
    messages = [value] if isinstance(value, Mapping) else value
    if not isinstance(messages, list | tuple) or not messages or not all(isinstance(m, Mapping) for m in messages):
        raise DataError("is neither a text nor messages", hint="write the completion as a text")
    if len(messages) > len(prompt) and all(map(same_message, messages, prompt)):
        messages = messages[len(prompt) :]
    if len(messages) != 1:
        raise DataError(
            f"holds {len(messages)} messages behind the prompt",
            hint="a completion is one message of the assistant: what stands before it belongs to the prompt",
        )
    (message,) = messages
    if message.get("role", "assistant") != "assistant":
        raise DataError(f"is a message of the role {message['role']}", hint="a completion is one of the assistant")
    if message.get("tool_calls"):
        raise DataError("calls tools", hint="completions are text: remove the row")
    try:
        return content_text(message)
    except (KeyError, TypeError):
        raise DataError("has a content that is no text", hint="write its content as a string") from None


def same_message(one: Mapping[str, Json], other: Mapping[str, Json]) -> bool:
    """Whether two messages say the same in the same role; a system message may call itself developer."""
    try:
        return _role(one) == _role(other) and content_text(one) == content_text(other)
    except (KeyError, TypeError):
        return False


def _role(message: Mapping[str, Json]) -> Json:
    role = message.get("role")
    return "developer" if role == "system" else role
