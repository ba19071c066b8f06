"""Reads the pages of the repository: fenced blocks by language and file name, tables, headings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/*/*.md"), *ROOT.glob("benchmarks/*.md")])
BIN = Path(sys.executable).parent

_FENCE = re.compile(r"^```(?P<language>\w*) ?(?P<name>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: ```` ```python grader.py ```` has a language and a name."""

    language: str
    name: str
    text: str


def blocks(page: Path, language: str | None = None) -> list[Block]:
    found = [Block(m["language"], m["name"], m["text"]) for m in _FENCE.finditer(page.read_text(encoding="utf-8"))]
    return [b for b in found if language is None or b.language == language]


def block(page: Path, name: str) -> str:
    """The text of the one block of this name."""
    (found,) = [b.text for b in blocks(page) if b.name == name]
    return found


def write_blocks(page: Path, folder: Path, *, under: str = "") -> None:
    """Write every named block whose name begins with `under` as a file."""
    for found in blocks(page):
        if found.name and found.name != "error" and found.name.startswith(under):
            path = folder / found.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(found.text, encoding="utf-8")


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def pip_install(folder: Path, target: Path) -> dict[str, str]:
    """Install a package with pip into `target`; returns the environment that sees it."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(target), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
