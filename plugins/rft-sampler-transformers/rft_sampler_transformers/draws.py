"""The random number of every token has an address: (rollout seed, position in the completion).

Nothing is drawn from a stateful generator, so a token does not depend on which rows share its batch,
on the order of the rows, or on who computes it.

Formula: splitmix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195), used as a counter-based
hash. With `mix` its 64-bit finaliser and γ = 0x9E3779B97F4A7C15, all modulo 2⁶⁴:

    key(s)  = mix(s + γ)
    u(s, t) = (mix(key(s) + (t + 1)·γ) >> 12) · 2⁻⁵²

The outer `mix` runs along the splitmix64 sequence that starts at key(s); the inner one keeps the
sequences of neighbouring seeds apart. 52 bits make u(s, t)·c < c hold for every double c > 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GAMMA = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S12 = (np.uint64(bits) for bits in (27, 30, 31, 12))

UInts = NDArray[np.uint64]


def keys_of(seeds: list[int]) -> UInts:
    """One key per rollout seed, 0 ≤ seed < 2⁶⁴: uint64 of shape (rows,)."""
    return _mix(np.array(seeds, dtype=np.uint64) + GAMMA)


def uniforms(keys: UInts, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """u in [0, 1) for each row's token at its position (from 0): float64 of shape (rows,)."""
    bits = _mix(keys + (positions.astype(np.uint64) + np.uint64(1)) * GAMMA)
    return (bits >> _S12).astype(np.float64) * 2.0**-52


def _mix(value: UInts) -> UInts:
    value = (value ^ (value >> _S30)) * _M1
    value = (value ^ (value >> _S27)) * _M2
    return value ^ (value >> _S31)
