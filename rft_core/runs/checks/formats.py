"""Forms in which an answer may have to stand: plain, in JSON, behind a marker, between tags, in a box."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rft_core.rows import prompt_text
from rft_core.runs.checks.clues import Clues
from rft_core.runs.checks.references import as_text
from rft_core.runs.checks.regex_text import makers
from rft_core.runs.checks.schema_text import instance
from rft_core.types import Json, Row

REASONING = "The task is clear, so I go through it step by step."
_TAG = re.compile(r"<(/?)([A-Za-z][\w-]*)>")
_MARKER = re.compile(
    r"((?:final |correct |short )?(?:answer|result|solution|diagnosis|label|verdict)\s*:)", re.IGNORECASE
)
_JSON_KEY = re.compile(r"[\"'`](\w+)[\"'`]\s*:")
_CLOSING = {"{": "}", "(": ")", "[": "]", "<": ">", '"': '"', "*": "*", "`": "`", "$": "$"}


@dataclass(frozen=True, kw_only=True)
class Format:
    """A form. `write` puts a value into it."""

    name: str
    write: Callable[[Json], str]


PLAIN = Format(name="plain", write=as_text)


def formats(clues: Clues, rows: Sequence[Row], limit: int) -> list[Format]:
    """Forms to try, the likeliest first, each once."""
    found: dict[str, Format] = {}
    for form in _all(clues, "\n".join(prompt_text(row) for row in rows[:3])):
        try:
            found.setdefault(form.write("5"), form)
        except (TypeError, ValueError, StopIteration, RecursionError, OverflowError):
            continue  # a pattern that this reading of it does not fit
    return list(found.values())[:limit]


def _all(clues: Clues, prompt: str) -> Iterator[Format]:
    yield PLAIN
    for steps in clues.json_fields:
        yield json_form(steps)
    for schema in clues.schemas:
        yield _by_schema(schema)
    code = [Format(name=f"matching {p}", write=_on_text(make)) for p in clues.patterns for make in makers(p)]
    yield from code[:12]
    yield from _tagged(clues.texts)
    yield from _markers(clues.texts)
    yield from _named_tags([*clues.texts, *clues.keys])
    keys = [k for k in clues.keys if re.fullmatch(r"[\w -]+", k)]
    if keys:
        for key in keys[:8]:
            yield json_form((key,))
        yield Format(name=f"JSON with {', '.join(keys)}", write=lambda v: json.dumps(dict.fromkeys(keys, v)))
    yield from _tagged([f"<{m[1]}{m[2]}>" for m in _TAG.finditer(prompt)])
    for marker in dict.fromkeys(_MARKER.findall(prompt)):
        yield _after(f"{marker} ")
    for key in dict.fromkeys(_JSON_KEY.findall(prompt)):
        yield json_form((key,))
    yield from _usual()


def _usual() -> Iterator[Format]:
    yield json_form(("answer",))
    yield _after("Answer: ")
    yield _between("<answer>", "</answer>")
    yield _between(f"<think>{REASONING}</think>\n<answer>", "</answer>")
    yield _between("\\boxed{", "}")
    yield _after("#### ")
    yield _after(f"{REASONING}\nFinal answer: ")
    yield _between("The answer is ", ".")
    yield _between("```\n", "\n```")
    yield _between("```python\n", "\n```")
    yield json_form(("result",))
    yield Format(name="JSON", write=lambda v: json.dumps(v, ensure_ascii=False))
    yield Format(name="JSON list", write=lambda v: json.dumps([v], ensure_ascii=False))


def _by_schema(schema: Mapping[str, Any]) -> Format:
    return Format(
        name="JSON by its schema", write=lambda value: json.dumps(instance(schema, value), ensure_ascii=False)
    )


def json_form(steps: tuple[str, ...]) -> Format:
    """JSON with the value at a path."""

    def write(value: Json) -> str:
        return json.dumps(nested({steps: value}), ensure_ascii=False)

    return Format(name=f"JSON at {'.'.join(steps)}", write=write)


def nested(values: dict[tuple[str, ...], Json]) -> Json:
    """An object that has each value at its path; a step that is a number makes a list."""
    root: dict[str, Json] = {}
    for steps, value in values.items():
        target = root
        for step in steps[:-1]:
            target = target.setdefault(step, {})
        target[steps[-1]] = value
    return _lists(root)


def _lists(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    if value and all(k.isdigit() for k in value):
        return [_lists(value.get(str(i))) for i in range(max(map(int, value)) + 1)]
    return {k: _lists(v) for k, v in value.items()}


def _on_text(make: Callable[[str], str]) -> Callable[[Json], str]:
    return lambda value: make(as_text(value))


def _after(marker: str) -> Format:
    return Format(name=f"after '{marker.strip()}'", write=lambda v: f"{marker}{as_text(v)}")


def _between(opening: str, closing: str) -> Format:
    name = f"between '{opening.strip()[-20:]}' and '{closing.strip()}'"
    return Format(name=name, write=lambda v: f"{opening}{as_text(v)}{closing}")


def _tagged(texts: Sequence[str]) -> Iterator[Format]:
    """The tags in the texts: each around the value, and all of them in order with the value in the last."""
    names = list(dict.fromkeys(m[2] for text in texts for m in _TAG.finditer(text)))
    if len(names) > 1:
        before = "\n".join(f"<{n}>{REASONING}</{n}>" for n in names[:-1])
        yield _between(f"{before}\n<{names[-1]}>", f"</{names[-1]}>")
    for name in names:
        yield _between(f"<{name}>", f"</{name}>")


def _named_tags(texts: Sequence[str]) -> Iterator[Format]:
    """Tags whose names stand in the code, as where `<{name}>` is put together: the value in one, words in the rest."""
    names = [t for t in dict.fromkeys(texts) if re.fullmatch(r"[a-z][a-z_]{2,15}", t)][:6]
    for name in names:
        parts = [(f"<{n}>{REASONING}</{n}>\n" if n != name else "\0") for n in names]
        before, _, after = "".join(parts).partition("\0")
        yield _between(f"{before}<{name}>", f"</{name}>\n{after}".rstrip())


def _markers(texts: Sequence[str]) -> Iterator[Format]:
    """Texts of the code that look as if the answer stood behind them: `Answer:`, `####`, `\\boxed{`."""
    for text in dict.fromkeys(texts):
        if _TAG.search(text) or text.isalnum() or not text.strip() or re.fullmatch(r"[\s,.;\-\\|/]+", text):
            continue
        closing = _CLOSING.get(text[-1], "") if text[-1] in "{([<`*" else ""
        yield (
            _between(text, closing * (2 if text.endswith(text[-1] * 2) else 1))
            if closing
            else _after(f"{text.rstrip()} ")
        )
    words = [t for t in dict.fromkeys(texts) if re.fullmatch(r"[A-Za-z][A-Za-z ]{2,20}", t)]
    for word in words[:6]:
        yield _after(f"{word} ")
