"""The journal: what survives a crash, and what damage is noticed."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from rft_core.errors import IntegrityError
from rft_core.storage.journal import Journal, Record


def filled(folder: Path, records: int = 12) -> Journal:
    journal = Journal(folder)
    for step in range(records):
        journal.append(Record(kind="update", step=step, data={"loss": step / 7, "text": "é" * step}, aside={"t": step}))
        if step == (records - 1) // 2:
            journal.new_segment()
    journal.commit()
    return journal


def test_reading_gives_what_was_appended(tmp_path: Path) -> None:
    """Records, their order and the canonical hash are the same in the next process."""
    journal = filled(tmp_path)
    expected, digest = journal.records, journal.canonical_sha256
    journal.close()
    again = Journal(tmp_path)
    assert again.records == expected
    assert again.canonical_sha256 == digest
    assert again.last("update") == expected[-1]
    assert again.last("update", 3) == expected[3]
    assert again.last("plan") is None


def test_memory_does_not_grow_with_the_steps(tmp_path: Path) -> None:
    """Old records of steps are read from disk when they are asked for; those of evaluations stay at hand."""

    def appended(journal: Journal, steps: range) -> int:
        for step in steps:
            journal.append(Record(kind="plan", step=step, data={"indices": [step + 1000 * n for n in range(100)]}))
            journal.append(Record(kind="update", step=step, data={"policy": step}))
            if step % 100 == 0:
                journal.append(Record(kind="evaluation", step=step))
                journal.new_segment()
        return tracemalloc.get_traced_memory()[0]

    journal = Journal(tmp_path)
    tracemalloc.start()
    try:
        growth = appended(journal, range(1, 201)) - appended(journal, range(201, 1001))
    finally:
        tracemalloc.stop()
    assert abs(growth) < 20_000, "800 steps of 4 kB each"
    assert [journal.last("update", step).data["policy"] for step in (1, 500, 999)] == [1, 500, 999]  # type: ignore[union-attr]
    assert journal.last("update", 1001) is journal.last("plan", 0) is None
    assert journal.last("evaluation", 100) is not None
    again = Journal(tmp_path)
    assert again.canonical_sha256 == journal.canonical_sha256
    assert again.records == journal.records
    again.append(Record(kind="update", step=500, data={"policy": -500}))  # as a replay may
    assert again.last("update", 500) == again.last("update") == again.records[-1]
    again.append(Record(kind="update", step=516))
    assert again.last("update", 500).data["policy"] == -500  # type: ignore[union-attr]


def test_the_hash_covers_canonical_data_alone(tmp_path: Path) -> None:
    """`aside`, checkpoints and segments do not change the hash; data and order do."""

    def digest(name: str, *records: Record) -> str:
        journal = Journal(tmp_path / name)
        for record in records:
            journal.append(record)
        journal.close()
        return journal.canonical_sha256

    one, two = Record(kind="plan", step=1, data={"a": 1}), Record(kind="update", step=1, data={"b": 2})
    base = digest("base", one, two)
    assert digest("aside", one, Record(kind="update", step=1, data={"b": 2}, aside={"host": "x"})) == base
    assert digest("checkpoint", one, Record(kind="checkpoint", step=1), two) == base
    assert digest("order", two, one) != base
    assert digest("data", one, Record(kind="update", step=1, data={"b": 3})) != base


def small(folder: Path) -> tuple[list[Record], list[Path]]:
    """The records and segments of a journal of a few hundred bytes, so that each of them can be damaged."""
    journal = filled(folder, records=4)
    journal.close()
    return journal.records, sorted(folder.glob("*.log"))


def test_a_torn_tail_is_cut_at_every_byte(tmp_path: Path) -> None:
    """Whatever prefix of the last segment reached the disk, whole records are kept and nothing else."""
    records, segments = small(tmp_path)
    data = segments[-1].read_bytes()
    kept = set()
    for length in range(len(data)):
        segments[-1].write_bytes(data[:length])
        again = Journal(tmp_path)
        assert again.records == records[: len(again.records)]
        assert len(again.records) < len(records)
        assert segments[-1].stat().st_size == length - again.cut_bytes
        kept.add(len(again.records))
        again.append(Record(kind="update", step=99))
        again.close()
        assert Journal(tmp_path).records == [*again.records[:-1], Record(kind="update", step=99)]
    assert kept == {len(records) - 1 - behind for behind in range(len(kept))}


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    """A byte with one bit flipped, or all, costs at most the tail behind it, or is a named error; never another
    record."""
    records, segments = small(tmp_path)
    for segment in segments:
        data = segment.read_bytes()
        for position, bits in ((p, b) for p in range(len(data)) for b in (1 << (p % 8), 0xFF)):
            damaged = bytearray(data)
            damaged[position] ^= bits
            segment.write_bytes(damaged)
            try:
                again = Journal(tmp_path)
            except IntegrityError:
                continue
            again.close()
            assert segment == segments[-1], "damage before the last segment was not noticed"
            assert again.records == records[: len(again.records)]
            assert len(again.records) < len(records)
        segment.write_bytes(data)


FULL_DISK = """
import resource, sys
from pathlib import Path
from rft_core.errors import StorageError
from rft_core.storage.journal import Journal, Record

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

journal = Journal(Path(sys.argv[1]))
segment = journal.folder / "000001.log"
journal.append(Record(kind="update", step=1))
before = segment.stat().st_size
journal.append(Record(kind="update", step=2))
digest, record = journal.canonical_sha256, segment.stat().st_size - before
for room in range(record):  # the file may grow by so many bytes, then the disk is full
    limit(2 * before + room)
    try:
        journal.append(Record(kind="update", step=3))
    except StorageError as error:
        assert "could not append to the journal in" in str(error), error
    else:
        raise AssertionError(f"an append with room for {room} of {record} bytes did not fail")
    assert segment.stat().st_size == 2 * before
    assert (len(journal.records), journal.last("update").step, journal.canonical_sha256) == (2, 2, digest)
limit(resource.RLIM_INFINITY)
journal.append(Record(kind="update", step=4))
journal.commit()
"""


def test_a_full_disk_takes_a_record_whole_or_not_at_all(tmp_path: Path) -> None:
    """However little room is left, a record that does not fit leaves no trace, and the journal goes on after it."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [record.step for record in Journal(tmp_path).records] == [1, 2, 4]


def test_a_missing_segment_is_an_error(tmp_path: Path) -> None:
    """Records cannot silently disappear from the middle."""
    filled(tmp_path).close()
    (tmp_path / "000001.log").unlink()
    with pytest.raises(IntegrityError, match="lacks a segment"):
        Journal(tmp_path)
