"""Digests of weights: what is no safetensors file, or only a part of one, is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from rft_core import weights
from rft_core.errors import IntegrityError, ModelError

TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(folder: Path, header: Any, data: bytes = bytes(8)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = folder / weights.FULL_FILE
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


@pytest.mark.parametrize(
    "header",
    [
        [],
        5,
        None,
        {"w": 5},
        {"w": []},
        {"w": {}},
        *(
            {"w": TENSOR | {"data_offsets": offsets}}
            for offsets in (5, [], [0], [0, 4, 8], [8, 0], [-1, 8], ["0", "8"])
        ),
        *({"w": TENSOR | {"shape": shape}} for shape in (2, None, ["2"], [-2], [2.0], [[2]])),
        {"w": TENSOR | {"dtype": 32}},
        {"w": TENSOR | {"data_offsets": [0.0, 8.0]}},
        b"[" * 100_000,
        b"not JSON",
        b"\xff",
        b"",
    ],
)
def test_odd_headers_are_sentences(header: Any, tmp_path: Path) -> None:
    """Whatever a header holds, a file that is not safetensors is a ModelError that names it."""
    with pytest.raises(ModelError, match=r"model\.safetensors is not a safetensors file"):
        weights.tensor_digests(write(tmp_path, header))


def test_every_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    """Cut anywhere, a file never gives a digest."""
    file = write(tmp_path, {"w": TENSOR, "empty": TENSOR | {"shape": [0], "data_offsets": [8, 8]}})
    assert set(weights.tensor_digests(file)) == {"w", "empty"}
    data = file.read_bytes()
    for length in range(len(data)):
        file.write_bytes(data[:length])
        with pytest.raises(IntegrityError if length >= len(data) - 8 else ModelError):
            weights.digest_of(tmp_path)
