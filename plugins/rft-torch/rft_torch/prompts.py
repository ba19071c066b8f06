"""From messages to prompt tokens, and the tokens that end a completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rft_core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Message = Mapping[str, Any]


def encode_prompt(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
) -> list[int]:
    """Token ids of the prompt that asks the model for the next message.

    With a chat template: the template (run in transformers' sandboxed Jinja) with the opening of the
    assistant's turn. A template that refuses the role `developer` gets `system` in its place, which is
    what OpenAI's documentation says the role means to older models. Without a template: the contents
    of the messages, one per line.

    DataError if the template refuses the messages, or if they come to no token at all.
    """
    if tokenizer.chat_template is None:
        ids = list(tokenizer("\n".join(_text(message) for message in messages))["input_ids"])
        if ids and ids[-1] == tokenizer.eos_token_id:
            ids.pop()  # some tokenizers close every text; a prompt stays open
    else:
        ids = _with_template(tokenizer, [dict(message) for message in messages], [dict(tool) for tool in tools])
    if not ids:
        raise DataError("the prompt has no tokens: its messages are empty")
    return ids


def _with_template(
    tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> list[int]:
    import jinja2

    def render(rows: list[dict[str, Any]]) -> list[int]:
        ids = tokenizer.apply_chat_template(
            rows, tools=tools or None, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return list(ids)

    try:
        try:
            return render(messages)
        except jinja2.TemplateError:
            if all(message.get("role") != "developer" for message in messages):
                raise
            return render([{**m, "role": "system"} if m.get("role") == "developer" else m for m in messages])
    except (jinja2.TemplateError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"the model's chat template refuses these messages ({type(error).__name__}: {error})"
        ) from error


def _text(message: Message) -> str:
    """The text of a message whose content is a string, a list of parts, or missing."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Every token that ends a completion: those of the generation config, else of the model's config,
    and the tokenizer's."""
    found: set[int] = set()
    generation = getattr(model, "generation_config", None)
    for value in (getattr(generation, "eos_token_id", None), model.config.eos_token_id, tokenizer.eos_token_id):
        if isinstance(value, int):
            found.add(value)
        elif value is not None:
            found.update(int(token) for token in value)
    return found
