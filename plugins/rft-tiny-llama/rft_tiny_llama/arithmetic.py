"""The data source `arithmetic`: addition problems made by a rule.

A row for 37 + 58:

    messages  [{"role": "user", "content": "37+58="}]
    answer    "95"
    worked    "7+8=15;3+5+1=9#95"   digit sums from the right with their carries, then the answer
    guess     "#85"                 an answer alone, from adding the columns and forgetting the carries
    target    one of the two, for a supervised warm start

A guess is right when nothing is carried: for 55 % of problems with two digits, 30 % with three. A model
warmed up on mostly guesses therefore starts near that share, having seen how to work a problem out but
not that it pays. Nothing but the reward for a right answer tells it so.

How to grade so that it cannot be gamed: everything before the last `#` is working and never looked at,
and only the answer at the very end of the completion counts. With OpenAI's `string_check`:

    {"type": "string_check", "name": "sum", "operation": "like",
     "input": "{{sample.output_text}}$", "reference": "#{{item.answer}}$"}

`like` asks whether the input contains the reference. The `$` stands once in the input, at its end, and
is no letter of the task, so it holds exactly when the completion ends in `#95`. A completion that lists
many answers is judged by its last one; `#195` or `#095` do not contain `#95$`; a completion cut off by
the token limit has no answer at its end. There is nothing to gain but by ending with the right sum.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Literal

from pydantic import Field

from rft_core.canonical import digest
from rft_core.specs import BuildContext, ComponentConfig
from rft_core.types import Item

Split = Literal["train", "validation", "test"]
ALPHABET = "0123456789+=;#"
"""All characters of the task, for a character tokenizer."""


class ArithmeticConfig(ComponentConfig):
    """Settings of `{type: arithmetic}`."""

    digits: int = Field(2, ge=1, le=12, description="Digits of each of the two numbers.")
    count: int = Field(1024, ge=1, description="Rows.")
    split: Split = Field(
        "train",
        description="Which problems: every problem belongs to one of train (80 %), validation and test (10 % each).",
    )
    worked_fraction: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of rows whose `target` is the worked solution; that of the others is the guess.",
    )
    seed: int = Field(0, ge=0, description="Seed of the problems.")


class Arithmetic:
    """See the module. Any row is computed from (seed, split, index) alone.

    Numbers are uniform among those of `digits` digits (0 counts as one digit). The split of a problem is a hash of the problem itself, whatever
    the seed, so that no problem (nor its mirror image b + a) is in two splits. A problem may come up
    again in its split.
    """

    def __init__(self, config: ArithmeticConfig) -> None:
        self._config = config
        self._cached = lru_cache(maxsize=65536)(self._make)

    def __len__(self) -> int:
        return self._config.count

    def item(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self._cached(index)

    def fingerprint(self) -> str:
        return digest(self._config.model_dump())

    def _make(self, index: int) -> Item:
        config = self._config
        name = f"{config.split}:{config.seed}:{index}"
        least = 10 ** (config.digits - 1) if config.digits > 1 else 0
        numbers = 10**config.digits - least
        attempt = 0
        while True:
            bits = _hash(f"problem:{config.digits}:{name}:{attempt}")
            a, b = least + bits % numbers, least + (bits >> 64) % numbers
            if split_of(a, b) == config.split:
                break
            attempt += 1
        worked, guess = worked_solution(a, b), hasty_guess(a, b)
        shows_work = _hash(f"style:{name}") < config.worked_fraction * 2**128
        row = {
            "messages": [{"role": "user", "content": f"{a}+{b}="}],
            "answer": str(a + b),
            "worked": worked,
            "guess": guess,
            "target": worked if shows_work else guess,
        }
        return Item(key=f"arithmetic:{name}", index=index, row=row)


def build_arithmetic(config: ArithmeticConfig, context: BuildContext) -> Arithmetic:
    return Arithmetic(config)


def split_of(a: int, b: int) -> Split:
    """The split that a + b and b + a belong to."""
    tenth = _hash(f"split:{min(a, b)}:{max(a, b)}") % 10
    return "validation" if tenth == 0 else "test" if tenth == 1 else "train"


def worked_solution(a: int, b: int) -> str:
    """Column addition from the right: `7+8=15;3+5+1=9#95`. A carry is the third summand."""
    columns = max(len(str(a)), len(str(b)))
    steps, carry = [], 0
    for place in range(columns):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + y + carry
        steps.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return ";".join(steps) + f"#{a + b}"


def hasty_guess(a: int, b: int) -> str:
    """The columns added each for itself, no carry between them: `#85` for 37 + 58."""
    columns = max(len(str(a)), len(str(b)))
    top = 10 ** (columns - 1)
    total = sum((a // place + b // place) % 10 * place for place in (10**i for i in range(columns - 1)))
    return f"#{(a // top + b // top) * top + total}"


def _hash(text: str) -> int:
    """128 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
