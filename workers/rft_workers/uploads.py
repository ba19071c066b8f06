"""Receives weights for workers that cannot read the engine's files."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from rft.v1 import sampler_pb2
from rft_core.errors import IntegrityError, StorageError, WorkerRefusedError
from rft_core.remote import convert
from rft_core.storage.files import storage
from rft_core.types import WeightRef

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.(safetensors|json)")


class Uploads:
    """Folder of uploaded weights, private to this worker; only the latest version of each component is kept."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._folders: dict[tuple[str, str], Path] = {}

    def open(self, header: sampler_pb2.UploadHeader) -> Upload:
        """Room for one version. StorageError if the disk has not enough."""
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="rft-worker-weights-"))
        free = shutil.disk_usage(self._root).free
        if header.total_bytes > free:
            raise StorageError(
                f"the worker has {free} bytes free in {self._root}, the weights need {header.total_bytes}; free some space"
            )
        folder = Path(tempfile.mkdtemp(prefix=f"policy-{header.policy.number}-", dir=self._root))
        return Upload(folder, convert.weights_from_proto(header.policy), header.total_bytes)

    def keep(self, run_id: str, digest: str, folder: Path) -> None:
        """Keep `folder` as this component's weights and drop the ones before."""
        self.drop(run_id, digest)
        self._folders[run_id, digest] = folder

    def drop(self, run_id: str, digest: str) -> None:
        """The component is gone: remove its weights."""
        if (old := self._folders.pop((run_id, digest), None)) is not None:
            shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)


class Upload:
    """One version being received. Chunks of a file arrive in order."""

    def __init__(self, folder: Path, ref: WeightRef, total_bytes: int) -> None:
        self.folder = folder
        self.ref = replace(ref, path=str(folder))
        self._left_bytes = total_bytes

    def write(self, chunk: sampler_pb2.UploadChunk) -> None:
        """Append a chunk to its file. IntegrityError on a wrong digest or more bytes than announced."""
        if not _FILE_NAME.fullmatch(chunk.file):
            raise WorkerRefusedError(f"weights may hold .safetensors and .json files, not '{chunk.file}'")
        if hashlib.sha256(chunk.data).digest() != chunk.sha256:
            raise IntegrityError(f"a piece of {chunk.file} arrived changed; the upload must be done again")
        self._left_bytes -= len(chunk.data)
        if self._left_bytes < 0:
            raise IntegrityError("the upload is longer than was announced; it must be done again")
        with storage(f"write {chunk.file}", self.folder), (self.folder / chunk.file).open("ab") as file:
            file.write(chunk.data)

    def finish(self) -> WeightRef:
        """The reference to what was received. IntegrityError if bytes are missing."""
        if self._left_bytes:
            raise IntegrityError(f"the upload ended {self._left_bytes} bytes early; it must be done again")
        return self.ref

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
