"""Digests of weights, computed without torch.

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
from pathlib import Path

from rft_core.canonical import digest
from rft_core.errors import IntegrityError, ModelError

FULL_FILE = "model.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"
MAX_HEADER_BYTES = 100_000_000


def tensor_digests(file: Path) -> Mapping[str, list[object]]:
    """`{tensor name: [dtype, shape, sha256]}` of one safetensors file. ModelError if it is not one."""
    try:
        with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            (header_bytes,) = struct.unpack("<Q", data[:8])
            if header_bytes > min(MAX_HEADER_BYTES, len(data) - 8):
                raise ModelError(
                    f"{file} is not a safetensors file: its header is longer than the file; make or fetch it again"
                )
            header = json.loads(data[8 : 8 + header_bytes])
            view = memoryview(data)
            try:
                return {
                    name: [entry["dtype"], entry["shape"], _sha256(view, 8 + header_bytes, entry["data_offsets"])]
                    for name, entry in sorted(header.items())
                    if name != "__metadata__"
                }
            finally:
                view.release()
    except FileNotFoundError:
        raise ModelError(f"there is no weights file {file}") from None
    except (ValueError, struct.error, KeyError) as error:
        raise ModelError(f"{file} is not a safetensors file ({error}); make or fetch it again") from error


def _sha256(view: memoryview, base: int, offsets: list[int]) -> str:
    piece = view[base + offsets[0] : base + offsets[1]]
    try:
        return hashlib.sha256(piece).hexdigest()
    finally:
        piece.release()


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
