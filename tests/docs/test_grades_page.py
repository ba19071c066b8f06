"""The tables of docs/grades.md: each completion gets the grade that the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import DOCS

from rft_core import BuildContext, Group, Item, Rollout
from rft_core.registry import Registry

PAGE = DOCS / "grades.md"
EXAMPLE = re.compile(
    r"^```yaml\n(?P<yaml>grader: [^`]*)```\n+\| completion \| grade \|\n\|---\|---\|\n(?P<rows>(?:\|.*\n)+)",
    re.MULTILINE,
)
ROW = re.compile(r"^\| `(?P<text>[^`]*)` \| `?(?P<grade>[^`|]*?)`? \|$", re.MULTILINE)


def examples() -> list[Any]:
    found = list(EXAMPLE.finditer(PAGE.read_text(encoding="utf-8")))
    graders = [yaml.safe_load(match["yaml"])["grader"] for match in found]
    return [pytest.param(raw, ROW.findall(m["rows"]), id=raw["type"]) for raw, m in zip(graders, found, strict=True)]


@pytest.mark.parametrize(("raw", "rows"), examples())
def test_completions_get_the_grades_of_the_page(raw: dict[str, Any], rows: list[tuple[str, str]]) -> None:
    """A number is a score, a name an error kind."""
    assert rows
    rollouts = tuple(
        Rollout(ordinal=0, sample=n, seed=1, segments=(), text=text, finish_reason="stop")
        for n, (text, _) in enumerate(rows)
    )
    row = {"messages": [{"role": "user", "content": "What is 6 × 7?"}], "answer": "42"}
    grader = Registry.discover().build("grader", raw, BuildContext(base_dir=Path()))
    grades = grader.grade(Group(ordinal=0, item=Item(key="k", index=0, row=row), rollouts=rollouts))
    grader.close()
    for (text, told), grade in zip(rows, grades, strict=True):
        got = grade.error_kind or str(grade.reward).removesuffix(".0")
        assert got == told, text


def test_every_example_has_its_table() -> None:
    """One for each grader of the section."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.partition("## Text, form and mathematics\n")[2].partition("\n## ")[0]
    assert len(examples()) == section.count("\n### ") == section.count("| completion | grade |")
