"""Graders that ask the judge about one completion at a time.

A completion enters the messages where their templates say so, once, and is never expanded again: braces in
it stay braces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rft_core.errors import MissingVariableError
from rft_core.grading import grade_of_missing, sample_namespace
from rft_core.template import compile_template
from rft_core.types import Grade, Group, Rollout
from rft_graders_model.answers import JudgeError
from rft_graders_model.config import Message
from rft_graders_model.judge import Judge, Schema, Verdict


class PromptedGrader:
    """Asks about all rollouts of a group at once; `read` makes a grade of a verdict, or raises JudgeError."""

    def __init__(
        self,
        messages: Sequence[Message],
        judge: Judge,
        schema: Schema,
        read: Callable[[Verdict], Grade],
        *,
        minimum: float = 0.0,
    ) -> None:
        self._messages = [
            ("system" if message.role == "developer" else message.role, compile_template(message.content))
            for message in messages
        ]
        self._judge, self._schema, self._read, self._minimum = judge, schema, read, minimum

    def grade(self, group: Group) -> Sequence[Grade]:
        """One grade per rollout. A missing variable: see `rft_core.grading.grade_of_missing`."""
        return self._judge.run(self._grade(group))

    def close(self) -> None:
        self._judge.close()

    async def _grade(self, group: Group) -> list[Grade]:
        return await asyncio.gather(*(self._grade_one(group, rollout) for rollout in group.rollouts))

    async def _grade_one(self, group: Group, rollout: Rollout) -> Grade:
        namespaces = {"item": group.item.row, "sample": sample_namespace(rollout)}
        try:
            messages = [{"role": role, "content": text.render(namespaces)} for role, text in self._messages]
            return self._read(await self._judge.ask(messages, self._schema, address_of(rollout)))
        except MissingVariableError as error:
            return grade_of_missing(error, minimum=self._minimum)
        except JudgeError as error:
            return error.grade()


def address_of(rollout: Rollout) -> tuple[int, int, int]:
    """Names a rollout among all of a run: where its randomness is drawn."""
    return (rollout.seed, rollout.ordinal, rollout.sample)
