"""Templates: `{{ item.answer }}` and `{{ sample.output_text }}` in a string, and nothing else.

There are two namespaces and no expressions, filters or loops, so a template cannot compute, loop or
reach anything. Inserted text is never expanded again: a row or a completion that contains braces
stays text.

    variable := namespace (("." name) | ("[" index "]") | ("[" quoted name "]"))+
    namespace := "item" | "sample"

Strings are inserted verbatim, other values as JSON (`true`, `null`, `{"a": 1}`). Whether a template
is well formed is decided when it is compiled (`ConfigError`), whether its variables exist when it is
rendered (`MissingVariableError`).

Source: https://platform.openai.com/docs/guides/graders#templating
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from rft_core.errors import ConfigError, MissingVariableError, nearest
from rft_core.types import Json

NAMESPACES = ("item", "sample")
SAMPLE_VARIABLES = ("choices", "output_json", "output_text", "output_tools")
EXAMPLE = "write {{item.name}} for a key of the data row or {{sample.output_text}} for the completion"

Namespaces = Mapping[str, Mapping[str, Json]]

# `{{{x}}}` is a brace, a variable and a brace, as in JSON around a variable.
_OPEN = re.compile(r"\{\{(?!\{)")
_STEP = re.compile(
    r"""\.\s*(?P<name>[^\W\d][\w-]*)|\[\s*(?:(?P<index>\d{1,9})|"(?P<double>[^"]*)"|'(?P<single>[^']*)')\s*\]"""
)


@dataclass(frozen=True, slots=True)
class Variable:
    """A parsed variable: `item.a.b[0]` has the steps `item`, `a`, `b` and 0."""

    name: str
    """As it is written in the normal form `item.a.b[0]`."""
    steps: tuple[str | int, ...]

    def find(self, namespaces: Namespaces) -> Json:
        """The value. MissingVariableError where a step has nothing to go to."""
        value: Json = namespaces
        for position, step in enumerate(self.steps):
            if isinstance(step, str) and isinstance(value, Mapping):
                try:
                    value = value[step]
                except KeyError:
                    raise self._missing(position, f"has no '{step}'") from None
            elif isinstance(step, int) and isinstance(value, list | tuple):
                if step >= len(value):
                    raise self._missing(position, f"has {len(value)} entries, so there is no [{step}]")
                value = value[step]
            else:
                raise self._missing(position, f"is {_kind(value)}, so there is no '{step}' in it")
        return value

    def _missing(self, position: int, why: str) -> MissingVariableError:
        owner = _normal(self.steps[:position]) or "what is given here"
        return MissingVariableError(f"the variable {{{{{self.name}}}}} has no value: {owner} {why}", variable=self.name)


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: literal texts and variables, in order."""

    parts: tuple[str | Variable, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables, each once, in order of first use."""
        return tuple(dict.fromkeys(part.name for part in self.parts if isinstance(part, Variable)))

    def render(self, namespaces: Namespaces) -> str:
        """The text with every variable replaced. MissingVariableError names the first that is missing."""
        return "".join(part if isinstance(part, str) else to_text(part.find(namespaces)) for part in self.parts)


def to_text(value: Json) -> str:
    """A value as it is inserted: a string verbatim, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def compile_variable(text: str) -> Variable:
    """Parse `item.a.b[0]`. ConfigError if it is no variable of one of the two namespaces."""
    stripped = text.strip()
    namespace = re.match(r"[^\s.\[\]]*", stripped)
    head = namespace.group() if namespace else ""
    if head not in NAMESPACES:
        raise ConfigError(f"{{{{{text}}}}} is not a variable: it must start with 'item.' or 'sample.'; {EXAMPLE}")
    steps: list[str | int] = [head]
    position = len(head)
    while position < len(stripped):
        step = _STEP.match(stripped, position)
        if step is None:
            raise ConfigError(f"{{{{{text}}}}} cannot be read from '{stripped[position:]}' on; {EXAMPLE}")
        index = step["index"]
        steps.append(
            int(index)
            if index is not None
            else next(step[k] for k in ("name", "double", "single") if step[k] is not None)
        )
        position = step.end()
    if len(steps) == 1:
        raise ConfigError(f"{{{{{text}}}}} names a whole namespace; {EXAMPLE}")
    if head == "sample" and steps[1] not in SAMPLE_VARIABLES:
        raise ConfigError(
            f"{{{{{text}}}}} is unknown: a sample has no '{steps[1]}'{nearest(str(steps[1]), SAMPLE_VARIABLES)}"
        )
    if steps[:2] == ["sample", "output_text"] and len(steps) > 2:
        raise ConfigError(
            f"{{{{{text}}}}} never has a value: sample.output_text is a text; sample.output_json has parts"
        )
    return Variable(_normal(tuple(steps)), tuple(steps))


@lru_cache(maxsize=1024)
def compile_template(template: str) -> Template:
    """Parse a template once. ConfigError on an unknown namespace, a bare `{{x}}` or a missing `}}`."""
    parts: list[str | Variable] = []
    position = 0
    while match := _OPEN.search(template, position):
        end = template.find("}}", match.end())
        if end < 0:
            raise ConfigError(
                f"'{template[match.start() : match.start() + 40]}' opens a variable that no '}}}}' closes; {EXAMPLE}"
            )
        parts += [template[position : match.start()], compile_variable(template[match.end() : end])]
        position = end + 2
    parts.append(template[position:])
    return Template(tuple(part for part in parts if part != ""))


def variables(template: str) -> tuple[str, ...]:
    """Names of the variables of a template, such as `item.answer`, each once, in order of first use."""
    return compile_template(template).variables


def render(template: str | Template, namespaces: Namespaces) -> str:
    """The text of a template. `namespaces` is `{"item": row}`, with `"sample"` where there is a completion."""
    compiled = compile_template(template) if isinstance(template, str) else template
    return compiled.render(namespaces)


def lookup(variable: str, namespaces: Namespaces) -> Json:
    """The value of one variable, such as `item.a.b[0]`. MissingVariableError if it has none."""
    return compile_variable(variable).find(namespaces)


def _normal(steps: tuple[str | int, ...]) -> str:
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not text or re.fullmatch(r"[^\W\d][\w-]*", step):
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]' if '"' not in step else f"['{step}']"
    return text


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list", tuple: "a list"}
    return kinds.get(type(value), "an object")
