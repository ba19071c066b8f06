"""Tokenizers made from a setting: characters of an alphabet, or phrases of a corpus.

Decoding joins tokens with nothing in between, so a text whose tokens are all known reads back exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rft_core.errors import DataError
from rft_tiny_llama.config import CharacterTokenizer, PhraseTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, SEP, UNK = "<pad>", "<bos>", "<eos>", "<sep>", "<unk>"
SPECIAL = (PAD, BOS, EOS, SEP, UNK)

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% elif message['content'] %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{{ eos_token if message['role'] == 'assistant' else sep_token }}"
    "{% endfor %}"
)
"""`<bos>` question `<sep>` answer `<eos>`: every message of another role ends with `<sep>`, so what follows
the last of them is the answer and an opening of the assistant's turn needs no token of its own."""


def build_tokenizer(
    settings: CharacterTokenizer | PhraseTokenizer, files: Sequence[Path], max_context: int
) -> PreTrainedTokenizerFast:
    """The tokenizer of these settings; `files` are the corpus of a phrase tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if isinstance(settings, CharacterTokenizer):
        words, pattern = list(settings.alphabet), r"[\s\S]"
    else:
        words, pattern = phrases(settings, files), separator_pattern(settings.separators)
    vocabulary = {
        word: number for number, word in enumerate([*SPECIAL, *(word for word in words if word not in SPECIAL)])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        sep_token=SEP,
        unk_token=UNK,
        model_max_length=max_context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def separator_pattern(separators: Sequence[str]) -> str:
    """A regular expression for any separator, the longest first."""
    return "|".join(re.escape(text) for text in sorted(separators, key=lambda text: (-len(text), text)))


def phrases(settings: PhraseTokenizer, files: Sequence[Path]) -> list[str]:
    """All separators and phrases of the corpus, sorted."""
    pattern = re.compile(separator_pattern(settings.separators))
    found = set(settings.separators)
    for file in files:
        for text in _texts(file, settings.extra):
            found.update(phrase for phrase in pattern.split(text) if phrase)
    return sorted(found)


def _texts(file: Path, extra: Sequence[str]) -> Iterator[str]:
    """The message contents and extra fields of every row. DataError names a line that is not a row."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # splitlines would cut at U+2028 inside a string
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the tokenizer's corpus {file} cannot be read ({error}); check model.tokenizer.corpus"
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{file}, line {number}: the tokenizer's corpus must be JSONL ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{file}, line {number}: the tokenizer's corpus must hold one JSON object per line")
        for message in row.get("messages") or []:
            yield from _strings(message.get("content") if isinstance(message, dict) else None)
        for path in extra:
            yield from _strings(_at(row, path))


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _strings(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
