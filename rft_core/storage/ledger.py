"""The ledger of grades that cost something: kept as soon as they arrive, so that none is paid for twice.

One SQLite file beside the journal. It survives a kill of the process at any instant; it is no part of
the run's hash, because a run without it comes to the same grades.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rft_core.errors import StorageError
from rft_core.types import Grade, Outcome, TokenUsage

COST = "cost_usd"
"""Metric in which a grader tells what a grade cost."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS grades (key TEXT PRIMARY KEY, grade TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spend (
    model TEXT PRIMARY KEY, calls INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER, cached_tokens INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cost (id INTEGER PRIMARY KEY CHECK (id = 0), usd REAL NOT NULL, grades INTEGER, hits INTEGER);
INSERT OR IGNORE INTO cost VALUES (0, 0.0, 0, 0);
"""


@dataclass(frozen=True, kw_only=True)
class Spend:
    """What grading has cost so far, over all resumes."""

    grades: int = 0
    """Grades that were asked for."""
    hits: int = 0
    """Grades that were answered from the ledger instead."""
    cost_usd: float = 0.0
    usage: Mapping[str, TokenUsage] = field(default_factory=dict)


class Ledger:
    """Read and written by the engine's main thread alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._storing("open"):
            self._db = sqlite3.connect(path)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(SCHEMA)

    def find(self, keys: Sequence[str]) -> dict[str, Grade]:
        """The kept grades among `keys`."""
        found = {}
        with self._storing("read"):
            for key in keys:
                row = self._db.execute("SELECT grade FROM grades WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = _grade_of(row[0])
        return found

    def keep(self, grades: Sequence[tuple[str, Grade]]) -> None:
        """Keep grades that were just given, and add up what all of them cost. A failed grade is not kept, so
        that it is tried again, but was paid for."""
        with self._storing("write"), self._db:
            for key, grade in grades:
                if not grade.failed:
                    self._db.execute("INSERT OR IGNORE INTO grades VALUES (?, ?)", (key, _text_of(grade)))
                for model, used in grade.usage.items():
                    self._db.execute(
                        "INSERT INTO spend VALUES (?, ?, ?, ?, ?) ON CONFLICT (model) DO UPDATE SET "
                        "calls = calls + excluded.calls, prompt_tokens = prompt_tokens + excluded.prompt_tokens, "
                        "completion_tokens = completion_tokens + excluded.completion_tokens, "
                        "cached_tokens = cached_tokens + excluded.cached_tokens",
                        (model, used.calls, used.prompt_tokens, used.completion_tokens, used.cached_tokens),
                    )
            usd = sum(cost_of(grade) for _, grade in grades)
            self._db.execute("UPDATE cost SET usd = usd + ?, grades = grades + ?", (usd, len(grades)))

    def count_hits(self, hits: int) -> None:
        with self._storing("write"), self._db:
            self._db.execute("UPDATE cost SET hits = hits + ?", (hits,))

    def spend(self) -> Spend:
        with self._storing("read"):
            usd, grades, hits = self._db.execute("SELECT usd, grades, hits FROM cost").fetchone()
            rows = self._db.execute("SELECT * FROM spend ORDER BY model").fetchall()
        usage = {
            model: TokenUsage(calls=calls, prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
            for model, calls, prompt, completion, cached in rows
        }
        return Spend(grades=grades, hits=hits, cost_usd=usd, usage=usage)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _storing(self, action: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(
                f"could not {action} the ledger {self.path}: {error}; free space, or remove the file to grade again"
            ) from error


def cost_of(grade: Grade) -> float:
    """What a grade cost in US dollars, by all graders inside it."""
    return sum(value for name, value in grade.metrics.items() if name.rpartition("/")[2] == COST)


def _text_of(grade: Grade) -> str:
    return json.dumps(asdict(grade), ensure_ascii=False, allow_nan=False)


def _grade_of(text: str) -> Grade:
    values = json.loads(text)
    usage = {model: TokenUsage(**used) for model, used in values["usage"].items()}
    return Grade(**{**values, "outcome": Outcome(values["outcome"]), "usage": usage})
