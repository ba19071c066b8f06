"""Graders that work, raise, are slow, answer nonsense, or take their process along."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from rft_core import BuildContext, ComponentConfig, Grade, Group, TokenUsage


class ConstantConfig(ComponentConfig):
    reward: float = Field(1.0, description="Grade of every rollout.")


class SlowConfig(ComponentConfig):
    delay_s: float = Field(0.2, ge=0, description="Time one group takes.")
    only_key: str = Field("", description="Only the group of this item is slow; empty means all.")


class KillerConfig(ComponentConfig):
    key: str = Field("", description="The process dies over the item of this key; empty means over every item.")
    once: bool = Field(True, description="Die once only, then work.")


class PaidConfig(ComponentConfig):
    price: float = Field(0.001, ge=0, description="US dollars of a grade.")
    calls_file: str = Field("calls.txt", description="Each grade that is asked for appends a line to this file.")


class NoConfig(ComponentConfig):
    pass


class FunctionGrader:
    """A grader made of a function."""

    def __init__(self, function: Callable[[Group], Any]) -> None:
        self._function = function

    def grade(self, group: Group) -> Sequence[Grade]:
        answer: Sequence[Grade] = self._function(group)
        return answer

    def close(self) -> None:
        pass


def ones(group: Group) -> list[Grade]:
    return [Grade.score(1.0) for _ in group.rollouts]


def constant(config: ConstantConfig, context: BuildContext) -> FunctionGrader:
    return FunctionGrader(lambda group: [Grade.score(config.reward) for _ in group.rollouts])


def noisy(config: NoConfig, context: BuildContext) -> FunctionGrader:
    return FunctionGrader(lambda group: [Grade.score(os.urandom(1)[0] / 255) for _ in group.rollouts])


def paid(config: PaidConfig, context: BuildContext) -> FunctionGrader:
    def grade(group: Group) -> list[Grade]:
        with (context.base_dir / config.calls_file).open("a") as file:
            file.writelines(f"{group.ordinal}:{rollout.sample}\n" for rollout in group.rollouts)
        return [
            Grade.score(
                len(rollout.text) / 100,
                metrics={"cost_usd": config.price},
                usage={"judge": TokenUsage(prompt_tokens=10, completion_tokens=2)},
            )
            for rollout in group.rollouts
        ]

    return FunctionGrader(grade)


def text_length(config: NoConfig, context: BuildContext) -> FunctionGrader:
    return FunctionGrader(
        lambda g: [Grade.score(len(r.text) / 100, metrics={"chars": len(r.text)}) for r in g.rollouts]
    )


def tokens(config: NoConfig, context: BuildContext) -> FunctionGrader:
    """Tells all that it was given of the tokens."""

    def grade(group: Group) -> list[Grade]:
        return [
            Grade.score(
                rollout.completion_tokens,
                details={"segments": [[s.role, list(s.token_ids), list(s.logprobs or ())] for s in rollout.segments]},
            )
            for rollout in group.rollouts
        ]

    return FunctionGrader(grade)


def raising(config: NoConfig, context: BuildContext) -> FunctionGrader:
    def grade(group: Group) -> list[Grade]:
        raise ValueError(f"no number in {group.item.key}")

    return FunctionGrader(grade)


def exiting(config: NoConfig, context: BuildContext) -> FunctionGrader:
    return FunctionGrader(lambda group: sys.exit(0))


def slow(config: SlowConfig, context: BuildContext) -> FunctionGrader:
    def grade(group: Group) -> list[Grade]:
        if config.only_key in ("", group.item.key):
            time.sleep(config.delay_s)
        return ones(group)

    return FunctionGrader(grade)


def too_few(config: NoConfig, context: BuildContext) -> FunctionGrader:
    return FunctionGrader(lambda group: ones(group)[:-1])


def nonsense(config: NoConfig, context: BuildContext) -> FunctionGrader:
    def grade(group: Group) -> list[object]:
        answers: list[object] = list(ones(group))
        answers[0] = "1.0"
        answers[1] = Grade.score(0.5, metrics={"broken": float("nan")})
        return answers

    return FunctionGrader(grade)


def killer(config: KillerConfig, context: BuildContext) -> FunctionGrader:
    def grade(group: Group) -> list[Grade]:
        marker = context.base_dir / "killed"
        if config.key in ("", group.item.key) and not (config.once and marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return ones(group)

    return FunctionGrader(grade)


GRADERS: list[tuple[str, type[ComponentConfig], Callable[[Any, BuildContext], FunctionGrader], str]] = [
    ("constant", ConstantConfig, constant, "The same reward for all."),
    ("text_length", NoConfig, text_length, "A reward that depends on the text."),
    ("tokens", NoConfig, tokens, "A reward that depends on the tokens."),
    ("blind", NoConfig, tokens, "The same, but it says that it needs no tokens."),
    ("raising", NoConfig, raising, "Raises."),
    ("exiting", NoConfig, exiting, "Calls sys.exit."),
    ("slow", SlowConfig, slow, "Takes its time."),
    ("too_few", NoConfig, too_few, "Returns one grade too few."),
    ("nonsense", NoConfig, nonsense, "Returns things that are no grades."),
    ("paid", PaidConfig, paid, "Costs money, and keeps count."),
    ("noisy", NoConfig, noisy, "Another reward each time."),
    ("killer", KillerConfig, killer, "Kills its process."),
]
