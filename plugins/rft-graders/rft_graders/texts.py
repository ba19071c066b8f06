"""Grades texts that templates make: what most graders of this package have in common.

A template is looked at once. What it needs of the row is rendered once a group, and the two forms that
nearly every grader has, `{{sample.output_text}}` against a text of the row, cost one call a rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rft_core.errors import MissingVariableError
from rft_core.grading import grade_of_missing, sample_namespace
from rft_core.template import compile_template
from rft_core.types import Grade, Group, Rollout, Row

Judge = Callable[[str, str], Grade]
"""The grade of a rendered input and a rendered reference."""

RIGHT, WRONG = Grade.score(1.0), Grade.score(0.0)
"""Grades are frozen, so one object serves every rollout."""


class TextTemplate:
    """A compiled template that knows what it depends on."""

    def __init__(self, template: str) -> None:
        self._template = compile_template(template)
        self.whole_output = self._template.variables == ("sample.output_text",) and len(self._template.parts) == 1
        """The template is the completion itself."""
        self.of_row = not any(name.startswith("sample.") for name in self._template.variables)
        """The template says the same of every rollout of a group."""

    def of(self, row: Row, rollout: Rollout) -> str:
        """The text for one rollout. MissingVariableError."""
        if self.whole_output:
            return rollout.text
        return self._template.render({"item": row, "sample": sample_namespace(rollout)})

    def of_group(self, row: Row) -> str:
        """The text for every rollout, of a template that is `of_row`. MissingVariableError."""
        return self._template.render({"item": row})


class TextGrader:
    """Scores each rollout by a judge of two rendered templates, `text` and `reference`. Holds no state of its own."""

    def __init__(self, judge: Judge, text: str, reference: str = "") -> None:
        self._judge = judge
        self._input = TextTemplate(text)
        self._reference = TextTemplate(reference)

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout. A missing variable: see `rft_core.grading.grade_of_missing`."""
        row, judge = group.item.row, self._judge
        if not self._reference.of_row:
            return [self._grade_one(row, rollout, None) for rollout in group.rollouts]
        try:
            reference = self._reference.of_group(row)
        except MissingVariableError as error:
            return [grade_of_missing(error)] * len(group.rollouts)
        if self._input.whole_output:
            return [judge(rollout.text, reference) for rollout in group.rollouts]
        return [self._grade_one(row, rollout, reference) for rollout in group.rollouts]

    def _grade_one(self, row: Row, rollout: Rollout, reference: str | None) -> Grade:
        try:
            text = self._input.of(row, rollout)
            known = self._reference.of(row, rollout) if reference is None else reference
        except MissingVariableError as error:
            return grade_of_missing(error)
        return self._judge(text, known)

    def close(self) -> None:
        """Nothing to release."""
