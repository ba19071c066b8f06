"""Digests of weights, and what kind of model they are, computed without torch.

The digest of a version covers names, dtypes, shapes and bytes of its tensors, not the layout of the
file that carries them: two files with the same tensors in another order have the same digest.
Format of the file: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rft_core.canonical import digest
from rft_core.errors import IntegrityError, ModelError

FULL_FILE = "model.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"
MAX_HEADER_BYTES = 100_000_000
SCORERS = ("ForSequenceClassification", "SEQ_CLS")
"""How the settings of a model, or of an adapter, say that it scores texts."""


def tensor_digests(file: Path) -> Mapping[str, list[object]]:
    """`{tensor name: [dtype, shape, sha256]}` of one safetensors file. ModelError if it is not one,
    IntegrityError if it ends before its tensors do."""
    try:
        with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            (header_bytes,) = struct.unpack("<Q", data[:8])
            base = 8 + header_bytes
            if header_bytes > min(MAX_HEADER_BYTES, len(data) - 8):
                raise ModelError(
                    f"{file} is not a safetensors file: its header is longer than the file; make or fetch it again"
                )
            entries = _entries(json.loads(data[8:base]))
            missing = max((entry.end for entry in entries.values()), default=0) - (len(data) - base)
            if missing > 0:
                raise IntegrityError(
                    f"{file} lacks the last {missing} bytes of its tensors; it was cut short, make or fetch it again"
                )
            with memoryview(data) as view:
                return {
                    name: [entry.dtype, entry.shape, _sha256(view[base + entry.begin : base + entry.end])]
                    for name, entry in sorted(entries.items())
                }
    except FileNotFoundError:
        raise ModelError(f"there is no weights file {file}") from None
    except IntegrityError:
        raise
    except (ValueError, struct.error, RecursionError) as error:
        raise ModelError(f"{file} is not a safetensors file ({error}); make or fetch it again") from error


class _Entry(NamedTuple):
    """What the header says of a tensor; `begin` and `end` count from the header's end."""

    dtype: str
    shape: list[int]
    begin: int
    end: int


def _entries(header: object) -> dict[str, _Entry]:
    """The tensors that a header lists. ValueError if it is none."""
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return {name: _entry(name, value) for name, value in header.items() if name != "__metadata__"}


def _entry(name: str, value: object) -> _Entry:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if (
            0 <= begin <= end and all(type(size) is int and size >= 0 for size in shape)
        ):
            return _Entry(dtype, shape, begin, end)
    raise ValueError(f"its header does not say what the tensor '{name}' is and where")


def _sha256(piece: memoryview) -> str:
    with piece:
        return hashlib.sha256(piece).hexdigest()


def digest_of(folder: Path) -> str:
    """`sha256:…` over all tensors of the full weights or the adapter in `folder`."""
    adapter = folder / ADAPTER_FILE
    files = [adapter] if adapter.exists() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no safetensors weights")
    tensors: dict[str, list[object]] = {}
    for file in files:
        tensors.update(tensor_digests(file))
    return "sha256:" + digest(tensors)


def verify(folder: Path, expected: str) -> None:
    """IntegrityError unless the weights in `folder` have the digest `expected`."""
    found = digest_of(folder)
    if found != expected:
        raise IntegrityError(
            f"the weights in {folder} have digest {found}, but {expected} was announced; they were changed or cut short"
        )


def writes_nothing(folder: Path) -> bool:
    """Whether the settings of a model, or of an adapter, say that it scores texts. Its weights would not: with an output
    layer that is tied to the embeddings they load as a language model without a word."""
    said = ""
    for name, key in (("config.json", "architectures"), ("adapter_config.json", "task_type")):
        with suppress(OSError, ValueError, AttributeError):  # whoever loads the folder says what is wrong with it
            said += str(json.loads((folder / name).read_text(encoding="utf-8")).get(key))
    return any(mark in said for mark in SCORERS)
