"""From messages to prompt tokens, from texts to completions to learn, and the tokens that end a completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rft_core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Message = Mapping[str, Any]

SENTINEL = "rft-developer-probe"
"""A content that no chat template writes by itself."""
MOST_SHOWN = 20
"""Characters of a piece of text in an error."""


def encode_prompt(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
) -> list[int]:
    """Token ids of the prompt that asks the model for the next message.

    With a chat template: the template (run in transformers' sandboxed Jinja) with the opening of the
    assistant's turn. Templates get every content as one string: many drop a list of parts without a word.
    A template that refuses or drops the role `developer` gets `system` in its place, which is what
    OpenAI's documentation says the role means to older models. Without a template: the contents of the
    messages, one per line.

    DataError if the template refuses the messages, or if they come to no token at all.
    """
    if tokenizer.chat_template is None:
        ids = list(tokenizer("\n".join(_text(message) for message in messages))["input_ids"])
        if ids and ids[-1] == tokenizer.eos_token_id:
            ids.pop()  # some tokenizers close every text; a prompt stays open
    else:
        ids = _with_template(tokenizer, [_plain(message) for message in messages], [dict(tool) for tool in tools])
    if not ids:
        raise DataError("the prompt has no tokens: its messages are empty")
    return ids


def check_length(prompt: Sequence[int], context: int, whose: str = "the model") -> None:
    """DataError, without the row's key, for a prompt after which a model that reads `context` tokens has none left."""
    if len(prompt) >= context:
        raise DataError(
            f"the prompt has {len(prompt)} tokens and leaves no room for a completion in {whose}'s context of {context}",
            hint="shorten it or leave the row out",
        )


def encode_completion(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Token ids of a completion to learn, with the end of sequence.

    DataError, without the row's key, for a text that the tokenizer can only write with its unknown token, unless the
    text asks for that token by its name: the model would learn to say it."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if tokenizer.unk_token_id in ids and tokenizer.unk_token not in text:
        places = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        start, end = places[ids.index(tokenizer.unk_token_id)]
        raise DataError(
            f"holds {text[start:end][:MOST_SHOWN]!r}, which the model's tokenizer does not know",
            hint="write it in other characters, remove the row, or take a model whose tokenizer knows it",
        )
    return [*ids, tokenizer.eos_token_id]


def _with_template(
    tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> list[int]:
    import jinja2

    try:
        if any(message.get("role") == "developer" for message in messages):
            template = tokenizer.get_chat_template(tools=tools or None)
            if not _renders_developer(tokenizer, template):
                messages = [{**m, "role": "system"} if m.get("role") == "developer" else m for m in messages]
        ids = tokenizer.apply_chat_template(
            messages, tools=tools or None, add_generation_prompt=True, tokenize=True, return_dict=False
        )
    except (jinja2.TemplateError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"the model's chat template refuses these messages ({type(error).__name__}: {error})"
        ) from error
    return list(ids)


@lru_cache(maxsize=16)
def _renders_developer(tokenizer: PreTrainedTokenizerFast, template: str) -> bool:
    """Whether what a developer says comes out of this template. Asked once: the answer is the template's."""
    import jinja2

    probe = [{"role": "developer", "content": SENTINEL}, {"role": "user", "content": "x"}]
    try:
        text = tokenizer.apply_chat_template(probe, chat_template=template, add_generation_prompt=True, tokenize=False)
    except (jinja2.TemplateError, TypeError, KeyError, AttributeError):
        return False
    return SENTINEL in str(text)


def _plain(message: Message) -> dict[str, Any]:
    """The message with its text parts joined. A content that is missing or null stays so."""
    content = message.get("content")
    return dict(message) if content is None or isinstance(content, str) else {**message, "content": _text(message)}


def _text(message: Message) -> str:
    """The text of a message whose content is a string, a list of parts, or missing."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Every token that ends a completion: those of the generation config, of the model's config, and of
    the tokenizer, together."""
    found: set[int] = set()
    config = model.config
    for holder in (getattr(model, "generation_config", None), config, config.get_text_config(), tokenizer):
        value = getattr(holder, "eos_token_id", None)
        if isinstance(value, int):
            found.add(value)
        elif value is not None:
            found.update(int(token) for token in value)
    return found
