"""What a check of a grader says: findings with their evidence, and the figures behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]
SHOWN_CHARS = 400
MAX_EVIDENCE = 4

FINDINGS: Mapping[str, str] = {
    "fails": "the grader fails on answers that any policy gives",
    "fails_on_rows": "the grader fails on rows, whatever the answer",
    "fails_on_odd_answers": "the grader fails on an odd text",
    "hangs": "the grader does not come back from an answer in time",
    "no_reward": "the grader gives no reward to anything",
    "abstains": "the grader has no opinion on most answers",
    "constant": "every answer gets the same reward",
    "ignores_answer": "the reward depends on the row alone",
    "ignores_item": "the reward does not depend on the row, though the row holds an answer",
    "reference_free": "the reward does not depend on the row",
    "wrong_key": "the grader reads another key of the row than the one with the answer",
    "inverted": "a row's own answer scores less than other rows' answers",
    "reference_not_best": "something else scores better than the reference",
    "reference_unrewarded": "rows whose reference scores no better than a wrong answer",
    "wrong_accepted": "wrong answers score as well as the right one",
    "hackable": "an answer that knows nothing scores well",
    "substring": "the reference counts wherever it stands",
    "listing": "naming all answers of the data counts as the right answer",
    "repetition": "repeating text raises the reward",
    "length": "the reward follows the length of the answer",
    "runs_answer": "the grader runs the text of the answer as code",
    "not_deterministic": "the same answer gets another grade when graded again",
    "group_relative": "a grade depends on the other answers of the group",
    "noisy": "grades of the same answer differ much",
    "out_of_range": "rewards outside of 0 to 1",
    "slow": "grading a step takes long",
    "no_spread": "most groups would have equal rewards",
    "disagrees": "the second grader orders the answers otherwise",
}
"""Every kind of finding there is, with what it says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """One answer that was tried, and what it got."""

    row: str
    answer: str
    """Which kind of answer it is, such as `reference` or `empty`."""
    text: str
    reward: float | None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    kind: str
    severity: Severity
    message: str
    """One sentence with the figures."""
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What came of one check."""

    grader: str
    rows: int
    answers: int
    """Grades that were asked for, repeats included."""
    complete: bool
    """Whether there was time for everything that the check has; False if the budget cut it short."""
    reads: Mapping[str, Any]
    """What the grader compares with, as far as it was found: `path`, `format`, and the keys whose change moves rewards."""
    rewards: Mapping[str, Any]
    """Lowest, highest, and the mean of each kind of answer."""
    failures: Mapping[str, int]
    """Failed grades by kind of error."""
    latency: Mapping[str, float | None]
    determinism: Mapping[str, Any]
    spread: Mapping[str, Any]
    agreement: Mapping[str, Any] | None
    estimate: Mapping[str, Any]
    findings: tuple[Finding, ...] = field(default=())

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "warning")

    @property
    def sound(self) -> bool:
        """Whether nothing that was found is an error."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        return {"sound": self.sound, **asdict(self)}


def shown(text: str) -> str:
    """The text of an answer for a report: whole if it is short, else its beginning and its length."""
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}… ({len(text)} characters)"
