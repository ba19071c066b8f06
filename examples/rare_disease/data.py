"""Rows for the stages: for the supervised ones each case with a list of genes to learn, as `ranked`.

Every prompt, of training and of validation alike, lists the phenotypes that a report names, present and
absent together: what was looked for shows what was suspected, and from 1,100 cases that generalises
better than keeping the two apart.

A label names one gene, but the answer is a list of five. The list to learn is the true gene first, then
the four other genes whose labelled cases share the most with this one. Only the labelled rows that the
stage may see are compared, so nothing of the rows kept for reinforcement enters.

Training rows are copies with a part of the phenotypes left out and the rest shuffled, so that a
publication's usual selection cannot be learned by heart. Publications take turns: the largest holds 133
cases, and the genes of many small ones would hardly be seen.
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


def labelled(path: str, count: int, size: int, drop: float, seed: int = 0) -> list[Row]:
    """`size` copies of the first `count` rows of a file. What is left of the phenotypes decides the list to learn,
    so it differs between the copies of a case."""
    rows = _read(path)[:count]
    index = Neighbours(rows)
    return [{**row, "ranked": index.ranked(row, own=i)} for i, row in _drawn(rows, size, drop, seed)]


def cases(path: str, skip: int, size: int, drop: float, seed: int = 0) -> list[Row]:
    """`size` copies of the rows behind the first `skip`, for reinforcement: the gene for the grader, no list."""
    return [row for _, row in _drawn(_read(path)[skip:], size, drop, seed)]


def held_out(path: str, labelled_path: str, count: int) -> list[Row]:
    """Validation rows, whole; `ranked` compares them with the labelled rows alone, for a held-out loss."""
    index = Neighbours(_read(labelled_path)[:count])
    return [{**row, "ranked": index.ranked(row)} for row in _read(path)]


class Neighbours:
    """Finds the genes whose cases are most like a given one: cosine of inverse-document-frequency vectors
    over phenotypes, the best case of each gene."""

    def __init__(self, rows: list[Row]) -> None:
        counts = Counter(term for row in rows for term in row["terms"])
        self._weight = {term: math.log((1 + len(rows)) / n) for term, n in counts.items()}
        self._cases = [(row["gene"], *self._vector(row)) for row in rows]
        self._by_term: dict[str, list[int]] = {}
        for i, (_, terms, _) in enumerate(self._cases):
            for term in terms:
                self._by_term.setdefault(term, []).append(i)

    def ranked(self, row: Row, own: int | None = None) -> str:
        """The row's gene, then the four most similar others, as an answer is written."""
        terms, norm = self._vector(row)
        dots: dict[int, float] = {}
        for term in sorted(terms):
            for i in self._by_term[term]:
                dots[i] = dots.get(i, 0.0) + self._weight[term] ** 2
        best: dict[str, float] = {}
        for i, dot in dots.items():
            gene, _, other = self._cases[i]
            if i != own:
                best[gene] = max(best.get(gene, 0.0), dot / (norm * other or 1.0))
        others = sorted((g for g in best if g != row["gene"]), key=lambda g: (-best[g], g))
        return ", ".join([row["gene"], *others[: LISTED - 1]])

    def _vector(self, row: Row) -> tuple[set[str], float]:
        terms = {t for t in row["terms"] if t in self._weight}
        return terms, math.sqrt(sum(self._weight[t] ** 2 for t in sorted(terms)))


def _drawn(rows: list[Row], size: int, drop: float, seed: int) -> list[tuple[int, Row]]:
    """`size` times (number of the row, row with shuffled phenotypes, each left out with probability `drop`;
    at least one stays). The publications take turns, each time with one of their cases."""
    draw = random.Random(seed)
    numbers: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        numbers.setdefault(row["pmid"], []).append(i)
    made: list[tuple[int, Row]] = []
    while len(made) < size:
        for publication in draw.sample(sorted(numbers), len(numbers)):
            i = draw.choice(numbers[publication])
            terms = draw.sample(rows[i]["terms"], len(rows[i]["terms"]))
            made.append((i, _asked(rows[i], [t for t in terms if draw.random() >= drop] or terms[:1])))
    return made[:size]


def _read(path: str) -> list[Row]:
    rows = []
    with Path(path).open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            lists = dict(part.split(": ", 1) for part in row["messages"][-1]["content"].split("\n"))
            terms = sorted({term for name in ("Present", "Absent") for term in lists[name].split("; ") if term})
            rows.append(_asked(row, terms))
    return rows


def _asked(row: Row, terms: list[str]) -> Row:
    """The row with these phenotypes as its question."""
    messages = [*row["messages"][:-1], {"role": "user", "content": "; ".join(terms)}]
    return {**row, "terms": terms, "messages": messages}
