"""The run journal: the append-only truth about a run.

A record says what was decided or computed: the plan of a step, its rollouts (by digest of the file
that holds them), its update, an evaluation, a checkpoint. `data` is canonical: equal runs have equal
bytes there, and the run's hash covers it. `aside` holds what may differ between equal runs, such as
the digest of a compressed file.

On disk: segments `000001.log`, …, a new one after each checkpoint. A record is framed by magic,
length and CRC-32. A process that dies while it writes leaves a torn tail, which the next reader cuts
off; damage anywhere else is an IntegrityError, because a later record proves that it was once whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from rft_core import failpoints
from rft_core.canonical import canonical_json
from rft_core.errors import IntegrityError
from rft_core.storage.files import fsync_folder, storage

MAGIC = b"RFTJ"
HEADER = struct.Struct("<4sII")
MAX_RECORD_BYTES = 64 << 20
CANONICAL_KINDS = frozenset({"run", "plan", "rollouts", "update", "evaluation"})
STEP_KINDS = frozenset({"plan", "rollouts", "update"})
"""Every step has one of each, so that old ones are not kept in memory."""
RECENT_STEPS = 16
"""Steps of which a writer keeps these records at hand; what was there when it opened the journal stays too."""


@dataclass(frozen=True, kw_only=True)
class Record:
    kind: str
    step: int
    data: Mapping[str, Any] = field(default_factory=dict)
    aside: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """Append and read. One writer at a time (the run directory is locked)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps_done = 0
        """The last step that counts: the highest with an update. A replay may add another update of an earlier one."""
        self.cut_bytes = 0
        """Bytes of a torn tail that opening cut off."""
        self._count = 0
        self._latest: dict[tuple[str, int | None], Record] = {}
        self._forgotten: dict[str, int] = {}
        """The last step of a kind whose record is on disk alone."""
        self._hash = hashlib.sha256()
        self._handle: BinaryIO | None = None
        self._good_bytes = 0
        """Where the last whole record of the open segment ends."""
        self._torn = False
        """What follows `_good_bytes` is the rest of a write that failed."""
        with storage("open the journal", folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._read()
            self._open_segment(max(1, len(self._segments())))

    @property
    def canonical_sha256(self) -> str:
        """Hash of all canonical records so far, in order: equal for equal runs."""
        return self._hash.hexdigest()

    @property
    def records(self) -> list[Record]:
        """All records, in order, read from disk."""
        found: list[Record] = []
        with storage("read the journal", self.folder):
            for segment in self._segments():
                found += (record for record, _ in _frames(segment.read_bytes(), len(found)))
        return found

    def last(self, kind: str, step: int | None = None) -> Record | None:
        """The latest record of a kind, of one step if given. One that is not at hand any more is read from disk."""
        found = self._latest.get((kind, step))
        if found is None and step is not None and step <= self._forgotten.get(kind, -1):
            found = next((r for r in reversed(self.records) if (r.kind, r.step) == (kind, step)), None)
        return found

    def append(self, record: Record) -> None:
        """Write one record to the operating system. It survives a crash of the process from here on,
        and of the machine after `commit`. When it raises, the record was not written."""
        frame = _frame(self._count, record)
        with storage("append to the journal", self.folder):
            self._write(frame)
        self._remember(record)
        self._forget(record.kind, record.step - RECENT_STEPS)

    def _forget(self, kind: str, step: int) -> None:
        if kind in STEP_KINDS and self._latest.pop((kind, step), None) is not None:
            self._forgotten[kind] = max(step, self._forgotten.get(kind, step))

    def _write(self, frame: bytes) -> None:
        """Write all of it or none. What a failed write leaves is cut off, at the latest before the next one,
        because a record behind it would make it damage in the middle."""
        assert self._handle is not None
        self._cut()
        self._torn = True
        try:
            rest = memoryview(frame)
            if failpoints.armed("journal.half_record"):
                rest = rest[self._write_some(rest[: len(frame) // 2]) :]
                failpoints.hit("journal.half_record")
            while rest:
                rest = rest[self._write_some(rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                self._cut()
            raise
        self._torn = False
        self._good_bytes += len(frame)

    def _write_some(self, data: memoryview) -> int:
        """How much of it was written: less than all on a nearly full disk, where the next write fails."""
        assert self._handle is not None
        written = self._handle.write(data)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written

    def _cut(self) -> None:
        assert self._handle is not None
        if self._torn:
            os.ftruncate(self._handle.fileno(), self._good_bytes)
            self._torn = False

    def commit(self) -> None:
        """Make everything appended so far survive a power cut: the one fsync before a step counts."""
        assert self._handle is not None
        with storage("sync the journal", self.folder):
            os.fsync(self._handle.fileno())

    def new_segment(self) -> None:
        """Start the next segment; called after a checkpoint."""
        self.commit()
        self._open_segment(len(self._segments()) + 1)
        failpoints.hit("journal.new_segment")

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.log"))

    def _open_segment(self, number: int) -> None:
        # Unbuffered: a record is in the kernel when append returns, or the append raised.
        handle = (self.folder / f"{number:06d}.log").open("ab", buffering=0)
        self.close()
        self._handle, self._good_bytes, self._torn = handle, handle.tell(), False
        fsync_folder(self.folder)

    def _remember(self, record: Record) -> None:
        self._count += 1
        self._latest[record.kind, None] = self._latest[record.kind, record.step] = record
        if record.kind == "update":
            self.steps_done = max(self.steps_done, record.step)
        if record.kind in CANONICAL_KINDS:
            self._hash.update(canonical_json([record.kind, record.step, record.data]))
            self._hash.update(b"\n")

    def _read(self) -> None:
        segments = self._segments()
        for position, segment in enumerate(segments):
            if segment.name != f"{position + 1:06d}.log":
                raise IntegrityError(
                    f"the journal lacks a segment before {segment}; restore it from a backup or start a new run"
                )
            data = segment.read_bytes()
            good = 0
            for record, end in _frames(data, self._count):
                self._remember(record)
                good = end
            if good == len(data):
                continue
            if position + 1 < len(segments) or _has_later_frame(data, good):
                raise IntegrityError(
                    f"the journal is damaged at byte {good} of {segment}, and records follow it; "
                    "restore the file from a backup or start a new run"
                )
            self.cut_bytes = len(data) - good
            os.truncate(segment, good)


def _frame(number: int, record: Record) -> bytes:
    payload = canonical_json(
        {"n": number, "kind": record.kind, "step": record.step, "data": record.data, "aside": record.aside}
    )
    return HEADER.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload


def _frames(data: bytes, first: int) -> Iterator[tuple[Record, int]]:
    """Whole records from the start of `data` with the offset behind each; stops at the first that is not."""
    offset, number = 0, first
    while (parsed := _parse(data, offset)) is not None:
        values, offset = parsed
        if values["n"] != number:
            raise IntegrityError(
                f"the journal holds record {values['n']} where record {number} belongs; restore it from a backup"
            )
        number += 1
        yield Record(kind=values["kind"], step=values["step"], data=values["data"], aside=values["aside"]), offset


def _parse(data: bytes, offset: int) -> tuple[dict[str, Any], int] | None:
    if offset + HEADER.size > len(data):
        return None
    magic, length, checksum = HEADER.unpack_from(data, offset)
    start, end = offset + HEADER.size, offset + HEADER.size + length
    if magic != MAGIC or length > MAX_RECORD_BYTES or end > len(data):
        return None
    payload = data[start:end]
    if zlib.crc32(payload) != checksum:
        return None
    values: dict[str, Any] = json.loads(payload)
    return values, end


def _has_later_frame(data: bytes, offset: int) -> bool:
    """Whether a whole record stands somewhere behind a damaged one."""
    position = data.find(MAGIC, offset + 1)
    while position != -1:
        if _parse(data, position) is not None:
            return True
        position = data.find(MAGIC, position + 1)
    return False
