"""Whole runs through the command line, with real worker processes: stop, budget, lock, extend, fork, disk."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from rft_test_plugin.harness import alive, audit, engine, fast_run, fingerprint, launch, summary, workers_of


def wait_for_step(run_dir: Path, step: int, timeout_s: float = 60.0) -> None:
    """Until the metrics of a running run hold `step`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (run_dir / "metrics.jsonl").exists() and f'"step": {step},' in (run_dir / "metrics.jsonl").read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} did not come in {timeout_s} s")


def test_a_run_leaves_what_it_says(tmp_path: Path) -> None:
    """Files by their promised names, a summary with the promised keys, one JSON object a line on stdout."""
    outcome = engine("run", fast_run(tmp_path), "--name", "fast", fresh=True)
    assert outcome.code == 0, outcome.errors
    run_dir = tmp_path / "runs" / "fast"
    for name in ("config.json", "journal", "events.jsonl", "logs", "metrics.jsonl", "rollouts", "checkpoints", "final"):
        assert (run_dir / name).exists(), name
    assert (run_dir / "rollouts" / "step-000001.parquet").exists()
    values = summary(run_dir)
    keys = {
        "status",
        "steps",
        "wall_s",
        "final_weights_sha256",
        "validation",
        "engine_share",
        "rollouts",
        "dropped",
        "versions",
    }
    assert keys <= values.keys()
    assert values["rollouts"] == 12 * 4 * 4
    for part in ("before", "after", "best"):
        assert {"reward_mean", "ci95"} <= values["validation"][part].keys()
    assert {"mean", "ci95", "p_value", "improved", "worsened"} <= values["validation"]["gain"].keys()
    kinds = [event["event"] for event in outcome.events]
    assert kinds.count("step_finished") == 12
    assert kinds[-1] == "summary"
    audit(run_dir)


def test_a_polite_stop_and_resume_give_the_same_bits(tmp_path: Path) -> None:
    """Ctrl-C writes a checkpoint and leaves in 10 s with exit code 130; resuming ends as if nothing happened."""
    assert engine("run", fast_run(tmp_path / "a"), "--name", "fast").code == 0
    process = launch("run", fast_run(tmp_path / "b"), "--name", "fast")
    run_dir = tmp_path / "b" / "runs" / "fast"
    wait_for_step(run_dir, 5)
    workers = workers_of(process, "sampler") + workers_of(process, "grader")
    assert len(workers) == 3
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - start < 10
    assert process.returncode == 130, errors
    stopped = summary(run_dir)
    assert stopped["status"] == "stopped"
    assert 5 <= stopped["steps"] < 12
    assert (run_dir / "checkpoints" / f"step-{stopped['steps']:06d}").exists()
    assert not any(alive(worker) for worker in workers)
    assert engine("resume", run_dir).code == 0
    first, second = fingerprint(tmp_path / "a" / "runs" / "fast"), fingerprint(run_dir)
    assert {**first, "checkpoints": None} == {**second, "checkpoints": None}


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """Two signals end the process without waiting for a sampler that hangs; the run can be resumed."""
    run_file = fast_run(tmp_path, sampler={"type": "scripted", "fault": "hang_once"})
    process = launch("run", run_file, "--name", "fast")
    deadline = time.monotonic() + 30
    while not (tmp_path / "hung").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = workers_of(process, "sampler")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert time.monotonic() - start < 5
    time.sleep(1.0)
    assert not any(alive(worker) for worker in workers), "the workers die with the engine"
    assert engine("resume", tmp_path / "runs" / "fast").code == 0


def test_a_polite_stop_does_not_wait_for_a_sampler_that_hangs(tmp_path: Path) -> None:
    """One SIGTERM in the middle of an evaluation that would never end: a clean exit in 10 s, resumable."""
    run_file = fast_run(tmp_path, sampler={"type": "scripted", "fault": "hang_once"})
    process = launch("run", run_file, "--name", "fast")
    deadline = time.monotonic() + 30
    while not (tmp_path / "hung").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - start < 10
    assert process.returncode == 130, errors
    assert summary(tmp_path / "runs" / "fast")["status"] == "stopped"
    assert engine("resume", tmp_path / "runs" / "fast").code == 0


def test_budgets_stop_a_run(tmp_path: Path) -> None:
    """A token budget stops within a step, with a checkpoint, and the run goes on when it is raised."""
    outcome = engine("run", fast_run(tmp_path, processes=(), budget={"max_tokens": 300}), "--name", "fast")
    run_dir = tmp_path / "runs" / "fast"
    assert outcome.code == 130, outcome.errors
    assert summary(run_dir)["steps"] == 2  # 48 tokens of validation, 128 a step: 304 after the second
    assert "300 sampled tokens" in summary(run_dir)["reason"]
    outcome = engine("resume", run_dir, "--set", "budget.max_tokens=null")
    assert outcome.code == 0, outcome.errors
    assert summary(run_dir)["steps"] == 12


def test_a_run_directory_has_one_user(tmp_path: Path) -> None:
    """A second process in the same directory is refused with a sentence, and harms nothing."""
    process = launch(
        "run", fast_run(tmp_path, processes=(), optimizer={"type": "test_momentum", "work_s": 0.5}), "--name", "fast"
    )
    run_dir = tmp_path / "runs" / "fast"
    wait_for_step(run_dir, 2)
    process.send_signal(signal.SIGSTOP)  # so that it does not end while the second one starts
    second = engine("resume", run_dir)
    process.send_signal(signal.SIGCONT)
    assert second.code != 0
    assert "in use" in second.errors
    assert "Traceback" not in second.errors
    process.communicate(timeout=60)
    assert process.returncode == 0
    audit(run_dir)


def test_extending_continues_where_the_run_ended(tmp_path: Path) -> None:
    """12 steps extended to 16 give the weights of a run of 16 steps; what would change bits is refused."""
    assert engine("run", fast_run(tmp_path / "a", processes=()), "--name", "fast").code == 0
    run_dir = tmp_path / "a" / "runs" / "fast"
    refused = engine("resume", run_dir, "--set", "training.batch_size=2")
    assert refused.code == 2
    assert "init_from" in refused.errors
    assert engine("resume", run_dir, "--set", "training.steps=16").code == 0
    training = {"steps": 16, "batch_size": 4, "group_size": 4, "unit_size": 1}
    assert engine("run", fast_run(tmp_path / "b", processes=(), training=training), "--name", "fast").code == 0
    assert fingerprint(run_dir) == fingerprint(tmp_path / "b" / "runs" / "fast")


def test_changed_data_is_noticed(tmp_path: Path) -> None:
    """A run is not resumed on other rows than it began with."""
    process = launch("run", fast_run(tmp_path, processes=()), "--name", "fast")
    run_dir = tmp_path / "runs" / "fast"
    wait_for_step(run_dir, 3)
    process.kill()
    process.communicate()
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write(json.dumps({"messages": [{"role": "user", "content": "new"}]}) + "\n")
    outcome = engine("resume", run_dir)
    assert outcome.code == 4
    assert "data of the run" in outcome.errors


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """When no file may grow any more, the run stops with a sentence; with space again it ends the same."""
    assert engine("run", fast_run(tmp_path / "a", processes=()), "--name", "fast").code == 0
    stopped = engine("run", fast_run(tmp_path / "b", processes=()), "--name", "fast", file_bytes=9000)
    run_dir = tmp_path / "b" / "runs" / "fast"
    assert stopped.code == 4, stopped.errors
    assert "could not" in stopped.errors
    assert "Traceback" not in stopped.errors
    outcome = engine("resume", run_dir)
    assert outcome.code == 0, outcome.errors
    first, second = fingerprint(tmp_path / "a" / "runs" / "fast"), fingerprint(run_dir)
    assert {**first, "checkpoints": None} == {**second, "checkpoints": None}


def test_failing_graders_stop_the_run(tmp_path: Path) -> None:
    """When too many grades fail, the run stops with a checkpoint and a sentence, never trains on zeros."""
    outcome = engine("run", fast_run(tmp_path, processes=(), grader={"type": "test_raising"}), "--name", "fast")
    assert outcome.code == 3
    assert "max_error_rate" in outcome.errors
    run_dir = tmp_path / "runs" / "fast"
    assert summary(run_dir)["status"] == "failed"
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert all(line["trained_tokens"] == 0 for line in lines)
    assert lines[0]["outcome/grader_error"] == 16
    assert (run_dir / "checkpoints" / "step-000003").exists()


def test_stages_chain_and_are_cached(tmp_path: Path) -> None:
    """A second stage starts from the first one's weights; a cached stage is trained once, and again when
    anything that decides its bits changes."""
    stages = [{"stage": "first", "cache": True, "training": {"steps": 3}}, {"stage": "second"}]
    env = {"RFT_CACHE_DIR": str(tmp_path / "cache")}

    def run(name: str, *overrides: str) -> list[str]:
        arguments = [part for override in overrides for part in ("--set", override)]
        outcome = engine("run", fast_run(tmp_path, processes=(), stages=stages), "--name", name, *arguments, env=env)
        assert outcome.code == 0, outcome.errors
        return [event["event"] for event in outcome.events]

    assert "stage_cached" not in run("one")
    assert "stage_cached" in run("two")
    assert "stage_cached" not in run("three", "stages.first.training.steps=4")
    one, two = summary(tmp_path / "runs" / "one"), summary(tmp_path / "runs" / "two")
    assert one["final_weights_sha256"] == two["final_weights_sha256"]
    first = summary(tmp_path / "runs" / "one" / "stages" / "1-first")
    assert [s["stage"] for s in one["stages"]] == ["first", "second"]
    assert one["stages"][0] == {**first["stages"][-1], "cached": False}
    assert one["wall_s"] == pytest.approx(sum(s["wall_s"] for s in one["stages"]), abs=0.01)
    assert two["stages"][0] == {"stage": "first", "steps": 3, "wall_s": 0.0, "cached": True}


def test_nothing_listens_off_host(tmp_path: Path) -> None:
    """While a run works, none of its processes has a TCP port open to other hosts."""
    process = launch("run", fast_run(tmp_path), "--name", "fast")
    wait_for_step(tmp_path / "runs" / "fast", 2)
    import psutil

    processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = [
        c.laddr.ip for p in processes for c in p.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN
    ]
    process.communicate(timeout=60)
    assert not [ip for ip in listening if ip not in ("127.0.0.1", "::1")]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """After kills and resumes no process, temporary file or socket of the run is left."""
    before = set(Path("/dev/shm").iterdir())
    process = launch("run", fast_run(tmp_path), "--name", "fast")
    run_dir = tmp_path / "runs" / "fast"
    wait_for_step(run_dir, 3)
    workers = workers_of(process, "sampler") + workers_of(process, "grader")
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while any(alive(w) for w in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(w) for w in workers)
    (run_dir / "rollouts" / ".step-000009.parquet.0a1b2c3d.tmp").write_bytes(b"half")
    (run_dir / "checkpoints" / ".step-000007.tmp").mkdir()
    assert engine("resume", run_dir).code == 0
    assert not [p for p in run_dir.rglob("*") if p.name.endswith(".tmp")]
    assert set(Path("/dev/shm").iterdir()) <= before


@pytest.mark.parametrize("name", ["step-000005", "step-000006", "validation-step-000004", "validation-step-000000"])
def test_a_damaged_rollout_file_is_sampled_again(tmp_path: Path, name: str) -> None:
    """A file that a power cut tore is sampled again under the weights it was sampled with, whether its step
    counted already (5), did not yet (6), or was an evaluation (4, where the checkpoint is; 0, before it)."""
    first = fast_run(tmp_path / "b", processes=())
    launch("run", first, "--name", "fast", env={"RFT_FAILPOINT": "update.before_journal@6"}).communicate(timeout=60)
    run_dir = tmp_path / "b" / "runs" / "fast"
    path = run_dir / "rollouts" / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    outcome = engine("resume", run_dir)
    assert outcome.code == 0, outcome.errors
    assert engine("run", fast_run(tmp_path / "a", processes=()), "--name", "fast").code == 0
    assert fingerprint(run_dir) == fingerprint(tmp_path / "a" / "runs" / "fast")


@pytest.mark.parametrize(
    ("changes", "noted"),
    [
        ({"optimizer": {"type": "test_momentum", "jitter": True}}, {"replay_differs"}),
        ({"sampler": {"type": "scripted", "jitter": True}}, {"rollouts_replaced", "replay_differs"}),
        ({"grader": {"type": "test_noisy"}}, {"rollouts_replaced", "replay_differs"}),
    ],
    ids=["optimizer", "sampler", "grader"],
)
def test_components_that_do_not_repeat_themselves(tmp_path: Path, changes: dict[str, Any], noted: set[str]) -> None:
    """As on a GPU, or with a judge: killed, with a lost rollouts file, killed again in recovery. Resuming goes
    on from what comes out now, notes it, and each rollout that is stored was trained on once."""
    run_file = fast_run(tmp_path, processes=(), **changes)
    run_dir = tmp_path / "runs" / "fast"
    assert engine("run", run_file, "--name", "fast", env={"RFT_FAILPOINT": "update.before_journal@7"}).code == -9
    (run_dir / "rollouts" / "step-000005.parquet").unlink()
    assert engine("resume", run_dir, env={"RFT_FAILPOINT": "recover.step_replayed@2"}).code == -9
    outcome = engine("resume", run_dir)
    assert outcome.code == 0, outcome.errors
    events = {json.loads(line)["event"] for line in (run_dir / "events.jsonl").read_text().splitlines()}
    assert noted <= events
    audit(run_dir, resampled=True)
    assert summary(run_dir)["steps"] == 12


def test_a_component_that_only_claims_to_repeat_itself(tmp_path: Path) -> None:
    """A replay that comes out otherwise, though every component says it cannot, stops the run with a sentence."""
    run_file = fast_run(
        tmp_path, processes=(), optimizer={"type": "test_momentum", "jitter": True, "claims_bitwise": True}
    )
    run_dir = tmp_path / "runs" / "fast"
    assert engine("run", run_file, "--name", "fast", env={"RFT_FAILPOINT": "update.before_journal@7"}).code == -9
    outcome = engine("resume", run_dir)
    assert outcome.code == 4
    assert "training step 5 again gave another update" in outcome.errors
