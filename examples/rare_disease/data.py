"""Rows for the stages: for the supervised ones each case with a list of genes to learn, as `ranked`.

A label names one gene, but the answer is a list of five. The list to learn is the true gene first, then
the four other genes whose labelled cases share the most with this one. Only the labelled rows that the
stage may see are compared, so nothing of the rows kept for reinforcement enters.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LISTED = 5


def labelled(path: str, count: int, copies: int = 1, drop: float = 0.0, seed: int = 0) -> list[Row]:
    """The first `count` rows of a file, with `ranked`; `copies` of each, in all but the first of which
    every phenotype is left out with probability `drop`."""
    rows = _read(path)[:count]
    index = Neighbours(rows)
    ranked = [index.ranked(row, own=i) for i, row in enumerate(rows)]
    return _copies([{**row, "ranked": r} for row, r in zip(rows, ranked, strict=True)], copies, drop, seed)


def cases(path: str, skip: int, copies: int = 1, drop: float = 0.0, seed: int = 0) -> list[Row]:
    """The rows behind the first `skip`, for reinforcement: what the grader needs of the label, no list.
    `copies` of each, in all of which every phenotype is left out with probability `drop`."""
    rows = _read(path)[skip:]
    return _copies(rows, copies + 1, drop, seed)[len(rows) :]


def held_out(path: str, labelled_path: str, count: int) -> list[Row]:
    """Validation rows with `ranked`, compared with the labelled rows alone: for a held-out loss."""
    index = Neighbours(_read(labelled_path)[:count])
    return [{**row, "ranked": index.ranked(row)} for row in _read(path)]


class Neighbours:
    """Finds the genes whose cases are most like a given one: cosine of inverse-document-frequency vectors
    over observed phenotypes, the best case of each gene."""

    def __init__(self, rows: list[Row]) -> None:
        counts = Counter(term for row in rows for term in set(row["present_hpo"]))
        self._weight = {term: math.log((1 + len(rows)) / n) for term, n in counts.items()}
        self._cases = [(row["gene"], *self._vector(row)) for row in rows]
        self._by_term: dict[str, list[int]] = {}
        for i, (_, terms, _) in enumerate(self._cases):
            for term in terms:
                self._by_term.setdefault(term, []).append(i)

    def ranked(self, row: Row, own: int | None = None) -> str:
        """The row's gene, then the four most similar others, as an answer is written."""
        terms, norm = self._vector(row)
        dots: Counter[int] = Counter()
        for term in terms:
            for i in self._by_term.get(term, ()):
                dots[i] += self._weight[term] ** 2  # type: ignore[assignment]
        best: dict[str, float] = {}
        for i, dot in dots.items():
            gene, _, other = self._cases[i]
            if i != own:
                best[gene] = max(best.get(gene, 0.0), dot / (norm * other or 1.0))
        others = sorted((g for g in best if g != row["gene"]), key=lambda g: (-best[g], g))
        return ", ".join([row["gene"], *others[: LISTED - 1]])

    def _vector(self, row: Row) -> tuple[set[str], float]:
        terms = {t for t in row["present_hpo"] if t in self._weight}
        return terms, math.sqrt(sum(self._weight[t] ** 2 for t in terms))


def _copies(rows: list[Row], copies: int, drop: float, seed: int) -> list[Row]:
    made = []
    for copy in range(copies):
        for i, row in enumerate(rows):
            content = row["messages"][-1]["content"]
            if copy > 0:
                content = _thinned(content, drop, random.Random(f"{seed}:{copy}:{i}"))
            made.append({**row, "messages": [*row["messages"][:-1], {"role": "user", "content": content}]})
    return made


def _thinned(content: str, drop: float, draw: random.Random) -> str:
    """The case with some phenotypes left out of each list; at least one stays."""
    lines = []
    for line in content.split("\n"):
        name, _, values = line.partition(": ")
        if name in ("Present", "Absent"):
            terms = values.split("; ")
            values = "; ".join([t for t in terms if draw.random() >= drop] or terms[:1])
        lines.append(f"{name}: {values}")
    return "\n".join(lines)


def _read(path: str) -> list[Row]:
    with Path(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
