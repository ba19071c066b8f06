"""Every random draw has an address; its seed is a hash of that address.

Nothing in a run keeps the state of a random number generator. A retry, another worker or a resumed
run asks for the same address and draws the same numbers; a later epoch has another ordinal and draws
others.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

Purpose = Literal["train", "validation", "test", "order", "bootstrap", "grade"]


def seed_of(run_seed: int, purpose: Purpose, *address: int) -> int:
    """A 63-bit seed for the draw at `address`: (ordinal, sample, attempt, turn) for a rollout."""
    text = ":".join([str(run_seed), purpose, *map(str, address)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def epoch_order(run_seed: int, epoch: int, rows: int) -> np.ndarray:
    """The order of an epoch: a permutation of range(rows), int64 of shape (rows,)."""
    return np.random.Generator(np.random.Philox(seed_of(run_seed, "order", epoch))).permutation(rows)
