"""The journal: what survives a crash, and what damage is noticed."""

from pathlib import Path

import pytest

from rft_core.errors import IntegrityError
from rft_core.storage.journal import Journal, Record


def filled(folder: Path, records: int = 12) -> Journal:
    journal = Journal(folder)
    for step in range(records):
        journal.append(Record(kind="update", step=step, data={"loss": step / 7, "text": "é" * step}, aside={"t": step}))
        if step == records // 2:
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


@pytest.mark.parametrize("from_end", range(1, 200, 7))
def test_a_torn_tail_is_cut_at_every_byte(tmp_path: Path, from_end: int) -> None:
    """Whatever prefix of the last segment reached the disk, whole records are kept and nothing else."""
    journal = filled(tmp_path)
    records = journal.records
    journal.close()
    segment = sorted(tmp_path.glob("*.log"))[-1]
    data = segment.read_bytes()
    segment.write_bytes(data[: max(0, len(data) - from_end)])
    again = Journal(tmp_path)
    assert again.records == records[: len(again.records)]
    assert len(again.records) < len(records)
    again.append(Record(kind="update", step=99))
    again.close()
    assert Journal(tmp_path).records[-1].step == 99


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """A flipped bit costs at most the tail behind it, or is a named error; never another record."""
    journal = filled(tmp_path / "good")
    records = journal.records
    journal.close()
    segments = sorted((tmp_path / "good").glob("*.log"))
    for number, segment in enumerate(segments):
        data = segment.read_bytes()
        for position in range(0, len(data), 11):
            folder = tmp_path / f"bad-{number}-{position}"
            folder.mkdir()
            for other in segments:
                (folder / other.name).write_bytes(other.read_bytes())
            damaged = bytearray(data)
            damaged[position] ^= 1 << (position % 8)
            (folder / segment.name).write_bytes(damaged)
            try:
                again = Journal(folder)
            except IntegrityError:
                continue
            again.close()
            assert number == len(segments) - 1, "damage before the last segment was not noticed"
            assert again.records == records[: len(again.records)]
            assert len(again.records) < len(records)


def test_a_missing_segment_is_an_error(tmp_path: Path) -> None:
    """Records cannot silently disappear from the middle."""
    filled(tmp_path).close()
    (tmp_path / "000001.log").unlink()
    with pytest.raises(IntegrityError, match="lacks a segment"):
        Journal(tmp_path)
