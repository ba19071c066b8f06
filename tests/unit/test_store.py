"""The rollout store, checkpoints and weight digests: what is read is what was written, or an error."""

import fcntl
import json
import struct
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rft_core import weights
from rft_core.errors import IntegrityError, ModelError, RunDirError, StorageError
from rft_core.storage import checkpoint, store
from rft_core.storage.rundir import RunDir
from rft_core.types import Grade, GradedGroup, Group, Item, Rollout, Segment, TokenUsage


def groups() -> list[GradedGroup]:
    result = []
    for ordinal in range(3):
        rollouts = tuple(
            Rollout(
                ordinal=ordinal,
                sample=s,
                seed=2**62 + s,
                segments=(
                    Segment(role="prompt", token_ids=(1, 2, 3)),
                    Segment(role="assistant", token_ids=(4, 5), logprobs=(-0.5, -0.25), trained=True, policy=7),
                ),
                text="a\u0000b → ü",
                finish_reason="stop",
            )
            for s in range(4)
        )
        grades = (
            Grade.score(
                1.5,
                sub_rewards={"x": 0.5},
                metrics={"m": 2.0},
                details={"steps": ["é", {"n": None}]},
                usage={"judge": TokenUsage(prompt_tokens=3, completion_tokens=5, cached_tokens=1)},
            ),
            replace(Grade.error("other_error", "broke"), faults={"judge": "judge_down"}),
            Grade.abstained(),
            Grade.invalid("not JSON"),
        )
        item = Item(key=f"k{ordinal}", index=ordinal, row={"messages": [{"role": "user", "content": "é"}], "n": 1.0})
        result.append(GradedGroup(group=Group(ordinal=ordinal, item=item, rollouts=rollouts), grades=grades))
    return result


def test_round_trip(tmp_path: Path) -> None:
    """Everything of a graded group survives, to the bit."""
    table = store.to_table(3, groups())
    path = tmp_path / "step.parquet"
    store.write(path, table)
    assert store.read(path, store.content_digest(groups())) == groups()


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    """Equal groups have equal digests; one changed log-probability changes it."""
    changed = groups()
    segment = changed[0].group.rollouts[0].segments[1]
    object.__setattr__(segment, "logprobs", (-0.5, -0.2500001))
    assert store.content_digest(groups()) == store.content_digest(groups())
    assert store.content_digest(changed) != store.content_digest(groups())


def test_damage_is_noticed(tmp_path: Path) -> None:
    """A cut, a changed or a missing file is a named error."""
    table = store.to_table(3, groups())
    path = tmp_path / "step.parquet"
    store.write(path, table)
    digest = store.content_digest(groups())
    with pytest.raises(IntegrityError, match="not what the journal recorded"):
        store.read(path, "0" * 64)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(IntegrityError, match="damaged"):
        store.read(path, digest)
    path.unlink()
    with pytest.raises(StorageError, match="missing"):
        store.read(path, digest)


class FileOptimizer:
    """Saves one file; the part of an optimizer that checkpoints see."""

    needs = "rollouts"

    def __init__(self, text: str) -> None:
        self.text = text

    def save(self, folder: Path) -> None:
        (folder / "policy").mkdir()
        (folder / "policy" / "model.txt").write_text(self.text)


def test_a_checkpoint_is_whole_or_passed_over(tmp_path: Path) -> None:
    """Every changed, cut or missing file of a checkpoint is noticed, and the one before it is used."""
    run_dir = RunDir(tmp_path)
    run_dir.checkpoints.mkdir()
    for step in (10, 20):
        checkpoint.save(run_dir, step, FileOptimizer(f"step {step}"))  # type: ignore[arg-type]
    assert checkpoint.latest_whole(run_dir, 99) == (20, [])
    assert checkpoint.latest_whole(run_dir, 19) == (10, [])
    model = run_dir.checkpoint(20) / "optimizer" / "policy" / "model.txt"
    model.write_text("step 2O")
    step, faults = checkpoint.latest_whole(run_dir, 99)
    assert step == 10
    assert "not what was written" in faults[0]
    model.unlink()
    assert "missing" in checkpoint.latest_whole(run_dir, 99)[1][0]
    (run_dir.checkpoint(10) / checkpoint.MANIFEST).write_text("{")
    with pytest.raises(IntegrityError, match="no whole checkpoint"):
        checkpoint.latest_whole(run_dir, 99)


def test_an_unfinished_checkpoint_is_not_one(tmp_path: Path) -> None:
    """What a killed process left under its temporary name is not taken for a checkpoint, and goes."""
    run_dir = RunDir(tmp_path)
    (run_dir.checkpoints / ".step-000010.tmp" / "optimizer").mkdir(parents=True)
    (run_dir.checkpoints / ".step-000010.tmp" / "optimizer" / "old").write_text("x")
    assert checkpoint.steps(run_dir) == []
    checkpoint.save(run_dir, 10, FileOptimizer("new"))  # type: ignore[arg-type]
    assert checkpoint.steps(run_dir) == [10]
    assert not (run_dir.checkpoint(10) / "optimizer" / "old").exists()
    checkpoint.prune(run_dir, keep=[])
    assert checkpoint.steps(run_dir) == []


def safetensors(path: Path, tensors: dict[str, bytes]) -> None:
    header, body = {}, b""
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def test_weight_digests_ignore_layout(tmp_path: Path) -> None:
    """The digest covers names, shapes and bytes of tensors, not their order in the file or its sharding."""
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    safetensors(tmp_path / "a" / "model.safetensors", {"x": b"123", "y": b"45"})
    safetensors(tmp_path / "b" / "model.safetensors", {"y": b"45", "x": b"123"})
    safetensors(tmp_path / "c" / "model-1.safetensors", {"x": b"123"})
    safetensors(tmp_path / "c" / "model-2.safetensors", {"y": b"45"})
    safetensors(tmp_path / "d" / "model.safetensors", {"x": b"124", "y": b"45"})
    digests = {name: weights.digest_of(tmp_path / name) for name in "abcd"}
    assert digests["a"] == digests["b"] == digests["c"] != digests["d"]
    weights.verify(tmp_path / "a", digests["c"])
    with pytest.raises(IntegrityError, match="was announced"):
        weights.verify(tmp_path / "d", digests["a"])


def test_what_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    """A missing folder, a cut header or another format is a sentence, not a crash."""
    with pytest.raises(ModelError, match="no safetensors"):
        weights.digest_of(tmp_path)
    for content in (b"PK\x03\x04 pickled", b"", struct.pack("<Q", 2**40), struct.pack("<Q", 2) + b"{x"):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelError, match="not a safetensors file"):
            weights.digest_of(tmp_path)


def test_files_from_before_usage_was_kept_are_read(tmp_path: Path) -> None:
    """A run that began with an earlier release goes on: its files lack the newer columns."""
    table = store.to_table(3, groups()).drop_columns(["details", "usage", "faults"])
    pq.write_table(table, tmp_path / "step.parquet")
    read = store.from_table(store.read_table(tmp_path / "step.parquet"))
    assert [g.grades[2:] for g in read] == [g.grades[2:] for g in groups()]
    assert read[0].grades[0].usage == read[0].grades[1].faults == {}


def test_a_run_directory_is_locked_once_a_look_has_passed(tmp_path: Path) -> None:
    """`rft-engine runs` holds the lock for an instant; who comes to work waits for it, but not for a worker."""
    looking, run_dir = (tmp_path / "lock").open("a+"), RunDir(tmp_path)
    fcntl.flock(looking, fcntl.LOCK_SH)
    timer = threading.Timer(0.3, looking.close)
    timer.start()
    run_dir.lock()
    timer.join()
    with pytest.raises(RunDirError, match="in use by process"):
        RunDir(tmp_path).lock()
    run_dir.unlock()
