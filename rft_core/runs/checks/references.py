"""Where in a row the right answer may stand. Nothing is believed of a name alone: the grader is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rft_core.rows import prompt_text
from rft_core.types import Json, Row

RESERVED = ("messages", "tools")
MAX_DEPTH = 3
MAX_PATHS = 14
MAX_UNIT = 12
"""Characters of a text that may be a unit."""
CODE = re.compile(r"(?=.*\d)\S{2,12}")
"""A text with a digit and without spaces: another letter makes another thing of it."""
_WORDS = re.compile(r"[a-z]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
ANSWER_WORDS = frozenset(
    [
        "answer",
        "answers",
        "reference",
        "references",
        "target",
        "targets",
        "label",
        "labels",
        "gold",
        "golden",
        "truth",
        "expected",
        "solution",
        "solutions",
        "correct",
        "completion",
        "response",
        "groundtruth",
        "ideal",
        "result",
    ]
)
PROMPT_WORDS = frozenset(
    ["question", "prompt", "query", "input", "context", "passage", "instruction", "instructions", "problem"]
)
METADATA_WORDS = frozenset(
    [
        "id",
        "ids",
        "uid",
        "uuid",
        "guid",
        "index",
        "idx",
        "source",
        "sources",
        "split",
        "url",
        "link",
        "pmid",
        "doi",
        "isbn",
        "date",
        "year",
        "time",
        "timestamp",
        "created",
        "author",
        "authors",
        "version",
        "difficulty",
        "level",
        "topic",
        "category",
        "subject",
        "tag",
        "tags",
        "weight",
        "lang",
        "language",
        "file",
        "filename",
        "path",
        "dataset",
        "domain",
        "license",
        "hash",
        "row",
        "line",
        "number",
        "num",
        "seed",
        "case",
    ]
)
NEGATIVE_WORDS = frozenset(
    [
        "forbidden",
        "avoid",
        "banned",
        "exclude",
        "excluded",
        "not",
        "never",
        "disallowed",
        "blocked",
        "wrong",
        "bad",
        "taboo",
    ]
)


def words_of(path: str) -> list[str]:
    return _WORDS.findall(_CAMEL.sub("_", path).lower())


def is_answer_name(path: str) -> bool:
    """Whether a key's name says that it holds the right answer; `answer_id` and `correct_source` do not."""
    words = words_of(path)
    return not ANSWER_WORDS.isdisjoint(words) and METADATA_WORDS.isdisjoint(words)


def is_metadata_name(path: str) -> bool:
    """Whether a key's name says that it is about the row, such as `case_id` or `source`."""
    words = words_of(path)
    return bool(words) and words[-1] in METADATA_WORDS and ANSWER_WORDS.isdisjoint(words)


def is_prompt_name(path: str) -> bool:
    words = words_of(path)
    return not PROMPT_WORDS.isdisjoint(words) and ANSWER_WORDS.isdisjoint(words)


def is_negative_name(path: str) -> bool:
    return not NEGATIVE_WORDS.isdisjoint(words_of(path))


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to read an answer from a row."""

    path: str
    how: str
    """How the value is written, where there are several ways: `first`, `lines`, …"""
    value: Callable[[Row], Json]
    """The value, a text or a number mostly; None if the row has none."""

    @property
    def key(self) -> str:
        return re.split(r"[.\[]", self.path, maxsplit=1)[0]

    @property
    def name(self) -> str:
        return f"{self.path} ({self.how})" if self.how else self.path


def candidates(rows: Sequence[Row], first: Sequence[str] = (), separators: Sequence[str] = ()) -> list[Candidate]:
    """What may be the answer: the keys that the grader's templates name, then likely names, then the rest, then
    numbers with their unit. Lists are joined by `separators` too."""
    found: dict[str, list[Candidate]] = {}
    for row in rows[:8]:
        for path, value in leaves(row):
            found.setdefault(path, _ways(path, value, separators))
    named = [p for p in first if p in found]
    paths = sorted(found, key=lambda p: (p not in named, not is_answer_name(p), is_metadata_name(p), is_prompt_name(p)))
    return [c for path in paths[:MAX_PATHS] for c in found[path]] + list(_with_unit(rows[0] if rows else {}))


def _with_unit(example: Row) -> Iterator[Candidate]:
    """A number beside a short text of the same row: `20.8 m/s`."""

    def way(number: str, unit: str) -> Candidate:
        def value(row: Row) -> Json:
            return f"{as_text(row[number])} {row[unit]}" if number in row and unit in row else None

        return Candidate(path=f"{number} {unit}", how="", value=value)

    numbers = [k for k, v in example.items() if isinstance(v, int | float) and not isinstance(v, bool)]
    units = [k for k, v in example.items() if k not in RESERVED and isinstance(v, str) and 0 < len(v) <= MAX_UNIT]
    yield from (way(number, unit) for number in numbers[:3] for unit in units[:3])


def leaves(row: Row) -> Iterator[tuple[str, Json]]:
    """Every value of a row that can be an answer, with its path; `messages` and `tools` apart."""
    for key, value in row.items():
        if key not in RESERVED:
            yield from _leaves(key, value, 1)


def _leaves(path: str, value: Json, depth: int) -> Iterator[tuple[str, Json]]:
    if value is None:
        return
    yield path, value
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner, depth + 1)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping) and depth < MAX_DEPTH:
        yield from _leaves(f"{path}[0]", value[0], depth + 1)


def find(row: Row, path: str) -> Json:
    """The value at a path of `leaves`; None if there is none."""
    value: Json = row
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit():
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value


def _ways(path: str, example: Json, separators: Sequence[str]) -> list[Candidate]:
    def way(how: str, change: Callable[[Json], Json]) -> Candidate:
        def value(row: Row) -> Json:
            raw = find(row, path)
            return None if raw is None else change(raw)

        return Candidate(path=path, how=how, value=value)

    if isinstance(example, bool):
        return [way("", lambda v: v), way("yes/no", lambda v: "yes" if v else "no"), way("Python", str)]

    def joined(separator: str, name: str) -> Candidate:
        return way(name, lambda v: separator.join(map(as_text, v)) if isinstance(v, list) else None)

    if isinstance(example, list):
        if not example or isinstance(example[0], Mapping | list):
            return [way("program", program), way("", lambda v: v)]
        return [
            way("", lambda v: v),
            joined(", ", "commas"),
            way("first", lambda v: v[0] if isinstance(v, list) and v else None),
            joined("; ", "semicolons"),
            joined("\n", "lines"),
            joined(" ", "words"),
            *(joined(f" {s.strip()} ", f"joined by {s.strip()}") for s in dict.fromkeys(separators)),
        ]
    if isinstance(example, float):
        return [way("", lambda v: v), way("rounded", lambda v: f"{v:.2f}" if isinstance(v, int | float) else None)]
    return [way("", lambda v: v)]


def from_prompt() -> list[Callable[[Row], Json]]:
    """Answers computed from a prompt with two numbers or a quoted text: for rows that hold none."""

    def numbers(change: Callable[[int, int], int]) -> Callable[[Row], Json]:
        def value(row: Row) -> Json:
            found = re.findall(r"(?<![\w.])\d{1,9}(?![\w.]*\d)", prompt_text(row))
            return change(int(found[0]), int(found[1])) if len(found) > 1 else None

        return value

    def quoted(change: Callable[[str], str]) -> Callable[[Row], Json]:
        def value(row: Row) -> Json:
            found = (
                re.findall(r"[\"'“‘`]([^\"'”’`]+)[\"'”’`]", prompt_text(row)) or prompt_text(row).rpartition(":")[2:]
            )
            return change(found[-1].strip()) or None

        return value

    return [
        numbers(lambda a, b: a + b),
        numbers(lambda a, b: a - b),
        numbers(lambda a, b: a * b),
        quoted(lambda t: t),
        quoted(lambda t: t[::-1]),
        quoted(str.upper),
        quoted(lambda t: " ".join(sorted(t.split()))),
        quoted(lambda t: " ".join(t.split()[::-1])),
    ]


def program(tests: Json) -> Json:
    """A program that passes tests of the form `[{"input": …, "output": …}]` because it has them by heart."""
    if not isinstance(tests, list) or not all(isinstance(t, Mapping) and {"input", "output"} <= set(t) for t in tests):
        return None
    known = {str(t["input"]).strip(): str(t["output"]) for t in tests}
    return f"```python\nimport sys\nprint({known!r}[sys.stdin.read().strip()])\n```"


def as_text(value: Json) -> str:
    """A value as a policy would write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
