"""Preference pairs for two-digit addition, as a careful reader would give them.

Of two answers to `37+58=` the right one with its working is preferred: `7+8=15;3+5+1=9#95`. What is wrong with the
other one varies: a hasty sum without its carries (`#85`), another digit in the answer, or a slip in the working that
the answer follows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from rft_tiny_llama.arithmetic import Arithmetic, ArithmeticConfig, Split


def pairs(count: int, split: Split = "train", seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows for an optimizer that needs pairs."""
    problems = Arithmetic(ArithmeticConfig(digits=2, count=count, split=split, seed=1000 + seed))
    for index in range(count):
        row = problems.item(index).row
        draw = random.Random(f"{split} {seed} {index}")
        right = str(row["worked"])
        wrong = [slip_at_the_end(right, draw), slip_in_the_working(right, draw)]
        if row["guess"] != f"#{row['answer']}":
            wrong.append(str(row["guess"]))
        yield {"messages": row["messages"], "chosen": right, "rejected": draw.choice(wrong)}


def slip_at_the_end(text: str, draw: random.Random) -> str:
    """The same with another digit in one place of the answer."""
    start = text.index("#") + 1
    place = draw.randrange(start, len(text))
    return text[:place] + other_digit(text[place], draw) + text[place + 1 :]


def slip_in_the_working(text: str, draw: random.Random) -> str:
    """`7+8=15;3+5+1=9#95` with one column sum off by one, and an answer that follows from it."""
    work = text.partition("#")[0]
    columns = [column.split("=") for column in work.split(";")]
    column = draw.randrange(len(columns))
    wrong = max(0, int(columns[column][1]) + draw.choice((-1, 1)))
    columns[column][1] = str(wrong)
    digits = [total if i == len(columns) - 1 else total[-1] for i, (_, total) in enumerate(columns)]
    return ";".join("=".join(column) for column in columns) + "#" + "".join(reversed(digits))


def other_digit(digit: str, draw: random.Random) -> str:
    return draw.choice([d for d in "0123456789" if d != digit])
