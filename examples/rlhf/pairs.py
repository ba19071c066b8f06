"""Preference pairs for two-digit addition, as a careful reader would give them.

Of two answers to `37+58=` the right one with its working is preferred: `7+8=15;3+5+1=9#95`. The other one is either
the same with another digit in its answer, or a hasty sum without working or carries (`#85`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from rft_tiny_llama.arithmetic import Arithmetic, ArithmeticConfig, Split


def pairs(count: int, split: Split = "train", seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows for an optimizer that needs pairs. Other problems than those of the warm start, of the same split."""
    problems = Arithmetic(ArithmeticConfig(digits=2, count=count, split=split, seed=1000 + seed))
    for index in range(count):
        row = problems.item(index).row
        draw = random.Random(f"{split} {seed} {index}")
        right = str(row["worked"])
        wrong = [slip(right, draw)]
        if row["guess"] != f"#{row['answer']}":
            wrong.append(str(row["guess"]))
        yield {**row, "chosen": right, "rejected": draw.choice(wrong)}


def slip(text: str, draw: random.Random) -> str:
    """The same with another digit in one place of the answer."""
    place = draw.randrange(text.index("#") + 1, len(text))
    other = draw.choice([digit for digit in "0123456789" if digit != text[place]])
    return text[:place] + other + text[place + 1 :]
