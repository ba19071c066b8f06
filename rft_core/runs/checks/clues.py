"""What a grader's own settings and code give away about the form of an answer: patterns, markers, keys of JSON.

Code is read as a syntax tree and never run here."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rft_core.errors import ConfigError
from rft_core.template import compile_variable, variables

PATTERN_FUNCTIONS = {"compile", "search", "match", "fullmatch", "findall", "finditer", "split", "sub"}
SAMPLE_KEYS = {"output_text", "output_json", "output_tools", "choices", "message", "messages", "content", "role", "score", "metrics", "sub_rewards", "details", "finish_reason"}  # fmt: skip
RUNNERS = {"exec", "eval", "compile", "subprocess", "Popen", "check_output", "system", "runpy"}
MAX_MARKER = 40
MAX_SENTENCE = 400
MOST_SENTENCES = 6


@dataclass(kw_only=True)
class Clues:
    """Found in the settings of a grader, of those inside it, and in its files."""

    patterns: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """Short strings of the code, in order."""
    sentences: list[str] = field(default_factory=list)
    """Texts of several words in settings and code: what an answer may be compared with in every row."""
    keys: list[str] = field(default_factory=list)
    """Keys that the code looks up."""
    json_fields: list[tuple[str, ...]] = field(default_factory=list)
    """Paths in the completion's JSON that templates read."""
    pairs: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    """A field of the completion's JSON and the template of the row that it is compared with."""
    templates: list[str] = field(default_factory=list)
    """Templates of the row alone: what an answer is compared with."""
    schemas: list[Mapping[str, Any]] = field(default_factory=list)
    """JSON Schemas that an answer must fit."""
    separators: list[str] = field(default_factory=list)
    """What the code splits an answer at, other than white space and the usual signs of a list."""
    runs_code: bool = False
    """The code can run other code, so an answer may be a program."""
    source: str = ""
    """Settings and code as one text, to be tried as an answer."""


def gather(raw: Mapping[str, Any], sources: list[str]) -> Clues:
    """Clues of a grader's settings and of the texts of its files."""
    clues = Clues()
    for node in _mappings(raw):
        _read_templates(clues, [v for v in node.values() if isinstance(v, str)])
        clues.runs_code |= node.get("type") == "code_tests"
        if isinstance(node.get("pattern"), str):
            clues.patterns.append(node["pattern"])
        if isinstance(node.get("tags"), list):
            clues.texts += [f"<{tag}>" for tag in node["tags"]]
        if isinstance(node.get("schema"), Mapping):
            clues.schemas.append(node["schema"])
    inline = [v for node in _mappings(raw) for v in node.values() if isinstance(v, str) and "\n" in v and "def " in v]
    for source in [*sources, *inline]:
        _read_code(clues, source)
    written = [
        v for node in _mappings(raw) for v in node.values() if isinstance(v, str) and "{{" not in v and v not in inline
    ]
    clues.sentences = _sentences([*written, *clues.sentences])
    clues.source = "\n".join([json.dumps(raw, ensure_ascii=False, indent=1), *sources])[:8000]
    return clues


def _sentences(texts: list[str]) -> list[str]:
    return [t for t in dict.fromkeys(texts) if len(t.split()) > 2 and len(t) <= MAX_SENTENCE][:MOST_SENTENCES]


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _mappings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _mappings(inner)


def _read_templates(clues: Clues, texts: list[str]) -> None:
    fields, rows = [], []
    for text in texts:
        try:
            names = variables(text)
        except ConfigError:
            continue
        for name in names:
            if name.startswith("sample.output_json."):
                fields.append(tuple(str(s) for s in compile_variable(name).steps[2:]))
        if names and all(name.startswith("item.") for name in names):
            rows.append(text)
    clues.json_fields += fields
    clues.templates += rows
    if len(fields) == 1 and len(rows) == 1:
        clues.pairs.append((fields[0], rows[0]))


def _read_code(clues: Clues, source: str) -> None:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    patterns = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = _text(node.args[0]) if node.args else None
            is_re = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in ("re", "regex")
            if first is not None and is_re and name in PATTERN_FUNCTIONS:
                clues.patterns.append(first)
                patterns.add(id(node.args[0]))
            if first is not None and not is_re and name == "split" and first.strip(" ,;\n"):
                clues.separators.append(first)
            if first is not None and name in ("get", "pop"):
                clues.keys.append(first)
            clues.runs_code |= not is_re and name in RUNNERS
        elif (isinstance(node, ast.Subscript) and (key := _text(node.slice)) is not None) or (
            isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In) and (key := _text(node.left))
        ):
            clues.keys.append(key)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            clues.runs_code |= not RUNNERS.isdisjoint(n.partition(".")[0] for n in names)
        elif isinstance(node, ast.Set | ast.List | ast.Tuple):
            clues.keys += [k for e in node.elts if (k := _text(e)) and k.isidentifier()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings and id(node) not in patterns:
            text = node.value
            if isinstance(text, str) and " " in text:
                clues.sentences.append(text)
            if isinstance(text, str) and 0 < len(text) <= MAX_MARKER:
                clues.texts.append(text)
                if re.search(r"\(.+\)|\[.+\]|\\[dws]", text):
                    clues.patterns.append(text)
    clues.keys = [k for k in dict.fromkeys(clues.keys) if k not in SAMPLE_KEYS and len(k) <= MAX_MARKER]


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
