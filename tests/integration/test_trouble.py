"""What goes wrong around a run, through the command line: each is one sentence, and nothing is silently wrong."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from rft_test_plugin.harness import audit, engine, fast_run, fingerprint, launch, summary

DIED_AT_7 = {"RFT_FAILPOINT": "update.before_journal@7"}


def steps_kept(run_dir: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run_dir / "checkpoints").glob("step-*"))


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(("fault", "sentence"), [("raise", "out of memory, says"), ("nan", "grad_norm = nan")])
def test_an_optimizer_that_fails(tmp_path: Path, fault: str, sentence: str) -> None:
    """What it raises, or a metric that is no number, is a sentence that names it; the run says that it failed."""
    outcome = engine(
        "run",
        fast_run(tmp_path, processes=(), optimizer={"type": "test_momentum", "fault": fault}),
        "--name",
        "fast",
    )
    assert outcome.code != 0
    assert "Traceback" not in outcome.errors
    assert "the optimizer 'test_momentum', in step 3," in outcome.errors
    assert sentence in outcome.errors
    assert summary(tmp_path / "runs" / "fast")["status"] == "failed"


@pytest.mark.parametrize("steps", [2, 3])
def test_a_short_run_never_succeeds_on_failed_grades(tmp_path: Path, steps: int) -> None:
    """Fewer steps than the window, or the window's end at the run's end: still stopped, and again on resume."""
    training = {"steps": steps, "batch_size": 4, "group_size": 4, "unit_size": 1}
    run_file = fast_run(tmp_path, processes=(), training=training, grader={"type": "test_raising"})
    outcome = engine("run", run_file, "--name", "fast")
    assert outcome.code == 3, outcome.errors
    run_dir = tmp_path / "runs" / "fast"
    assert steps_kept(run_dir) == [steps]
    again = engine("resume", run_dir)
    assert again.code == 3
    assert "--set training.steps=" in again.errors
    assert summary(run_dir)["status"] == "failed"


def test_early_stopping_outlives_an_evaluation_that_failed(tmp_path: Path) -> None:
    """An evaluation without a single reward has no score; it neither stops the run nor keeps it from resuming."""
    validation = {"eval_interval": 4, "unit_size": 3, "early_stopping": {"patience": 9}}
    grading = {"max_error_rate": 1.0}
    run_file = fast_run(tmp_path, processes=(), validation=validation, grader={"type": "test_raising"}, grading=grading)
    outcome = engine("run", run_file, "--name", "fast")
    assert outcome.code == 0, outcome.errors
    values = summary(tmp_path / "runs" / "fast")
    assert values["best_step"] is None
    assert values["outcomes"] == {"grader_error": 12 * 16}
    wrong = fast_run(tmp_path, processes=(), validation={"sampling": False, "early_stopping": {"patience": 1}})
    assert "measures no validation reward" in engine("run", wrong).errors


def test_the_best_step_is_kept_and_is_the_best(tmp_path: Path) -> None:
    """Validated between two regular checkpoints, the best step gets one of its own, and becomes the result."""
    run_file = fast_run(
        tmp_path, processes=(), checkpoints={"interval": 5}, result="best", validation={"eval_interval": 4}
    )
    outcome = engine("run", run_file, "--name", "fast")
    assert outcome.code == 0, outcome.errors
    run_dir = tmp_path / "runs" / "fast"
    scores = {e["step"]: e["reward_mean"] for e in outcome.events if e["event"] == "evaluation_finished" and e["step"]}
    best = max(scores, key=lambda step: (scores[step], -step))
    values = summary(run_dir)
    assert values["best_step"] == values["result_step"] == best
    assert best in steps_kept(run_dir)
    assert engine("run", fast_run(tmp_path, processes=(), result="best", checkpoints={"keep_best": 0})).code == 2


def test_damaged_weights_never_become_the_result(tmp_path: Path) -> None:
    """A flipped bit in the checkpoint that is to be the result, or in the first version: an error, not a number."""
    run_file = fast_run(tmp_path, processes=())
    run_dir = tmp_path / "runs" / "fast"
    assert engine("run", run_file, "--name", "fast", env={"RFT_FAILPOINT": "finish.before_test"}).code == -9
    initial = run_dir / "weights" / "v000000" / "model.safetensors"
    whole = initial.read_bytes()
    flip_a_bit(initial)
    outcome = engine("resume", run_dir)
    assert outcome.code == 4
    assert "was announced" in outcome.errors
    initial.write_bytes(whole)
    flip_a_bit(run_dir / "checkpoints" / "step-000012" / "optimizer" / "policy" / "model.safetensors")
    outcome = engine("resume", run_dir)
    assert outcome.code == 0, outcome.errors  # trained again from the checkpoint before it
    assert "checkpoint_passed_over" in (run_dir / "events.jsonl").read_text()
    assert engine("run", fast_run(tmp_path / "whole", processes=()), "--name", "fast").code == 0
    assert fingerprint(run_dir) == fingerprint(tmp_path / "whole" / "runs" / "fast")


def test_another_model_is_noticed(tmp_path: Path) -> None:
    """A base model that was replaced between kill and resume is an error; other software is noted."""
    env = {"RFT_CACHE_DIR": str(tmp_path / "cache")}
    run_dir = tmp_path / "runs" / "fast"
    assert engine("run", fast_run(tmp_path, processes=()), "--name", "fast", env={**env, **DIED_AT_7}).code == -9
    (file,) = (tmp_path / "cache" / "models").rglob("model.safetensors")
    weights = load_file(file)
    save_file({"w": weights["w"] + 1}, file)
    outcome = engine("resume", run_dir, env=env)
    assert outcome.code == 4
    assert "the model of the run" in outcome.errors
    save_file(weights, file)
    assert engine("resume", run_dir, env=env).code == 0


def test_a_stop_while_the_run_starts(tmp_path: Path) -> None:
    """Ctrl-C while the optimizer is built ends the run at once, and it can be resumed."""
    run_file = fast_run(tmp_path, optimizer={"type": "test_momentum", "build_s": 60})
    run_dir = tmp_path / "runs" / "fast"
    process = launch("run", run_file, "--name", "fast")
    while not (run_dir / "logs" / "grader-1.log").exists():
        time.sleep(0.05)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert time.monotonic() - start < 10  # the promise is ten seconds
    assert summary(run_dir)["status"] == "stopped"


def test_extending_a_run_with_a_schedule(tmp_path: Path) -> None:
    """A killed run is extended: the steps already taken are replayed with the length they were taken under."""
    run_file = fast_run(tmp_path, processes=(), optimizer={"type": "test_momentum", "falling": True})
    run_dir = tmp_path / "runs" / "fast"
    assert engine("run", run_file, "--name", "fast", env=DIED_AT_7).code == -9
    outcome = engine("resume", run_dir, "--set", "training.steps=16")
    assert outcome.code == 0, outcome.errors
    assert summary(run_dir)["steps"] == 16
    audit(run_dir)
    shorter = engine("resume", run_dir, "--set", "training.steps=8")
    assert shorter.code == 2
    assert "16 steps are done" in shorter.errors


def test_a_finished_stage_keeps_its_length(tmp_path: Path) -> None:
    """Extending the warm start after the fact is refused: the stage after it began from its weights."""
    stages = [{"stage": "first", "training": {"steps": 3}}, {"stage": "second", "training": {"steps": 3}}]
    assert engine("run", fast_run(tmp_path, processes=(), stages=stages), "--name", "fast").code == 0
    run_dir = tmp_path / "runs" / "fast"
    outcome = engine("resume", run_dir, "--set", "stages.first.training.steps=9")
    assert outcome.code == 2
    assert "the stage 'first' has ended" in outcome.errors
    assert engine("resume", run_dir, "--set", "stages.second.training.steps=5").code == 0
    assert summary(run_dir)["steps"] == 5


def test_rows_without_their_cluster(tmp_path: Path) -> None:
    """A misspelt cluster_by would make each row a cluster of its own: refused, before anything is started."""
    outcome = engine("run", fast_run(tmp_path, processes=(), validation={"cluster_by": "anwser"}))
    assert outcome.code == 2
    assert "validation.cluster_by" in outcome.errors
    assert "did you mean 'answer'" in outcome.errors


def test_metrics_with_odd_names_survive(tmp_path: Path) -> None:
    """Torn characters and line separators inside a line of metrics.jsonl cost that line alone."""
    from rft_core.storage.rundir import RunDir

    run_dir = RunDir(tmp_path)
    rows: list[dict[str, Any]] = [{"step": 1, "a\u2028b": 1.0}, {"step": 2, "ü": 2.0}]
    for row in rows:
        run_dir.log_metrics(row)
    with run_dir.metrics.open("ab") as file:
        file.write(json.dumps({"step": 3, "ü": 1}, ensure_ascii=False).encode()[:-5])
    assert list(run_dir.read_lines(run_dir.metrics)) == rows


def test_a_refused_length_changes_nothing(tmp_path: Path) -> None:
    """A run cannot end before where it stands; asking for it neither begins anything nor spoils the run."""
    run_file = fast_run(tmp_path, processes=())
    run_dir = tmp_path / "runs" / "fast"
    assert engine("run", run_file, "--name", "fast").code == 0
    before = fingerprint(run_dir)
    refused = engine("resume", run_dir, "--set", "training.steps=4")
    assert refused.code == 2
    assert "12 steps are done" in refused.errors
    assert not refused.events
    assert engine("resume", run_dir).code == 0
    assert fingerprint(run_dir) == before


def test_lines_keep_their_times(tmp_path: Path) -> None:
    """Resuming makes no line again that is there, also where an optimizer's metric has one of the engine's names."""
    run_file = fast_run(tmp_path, processes=(), optimizer={"type": "test_momentum", "fault": "clash"})
    run_dir = tmp_path / "runs" / "fast"
    assert engine("run", run_file, "--name", "fast", env=DIED_AT_7).code == -9
    before = (run_dir / "metrics.jsonl").read_text().splitlines()
    assert engine("resume", run_dir).code == 0
    assert (run_dir / "metrics.jsonl").read_text().splitlines()[: len(before)] == before
    assert len(before) == 6


@pytest.mark.parametrize("kind", ["model", "run without its journal"])
def test_a_name_that_is_taken_stays_taken(tmp_path: Path, kind: str) -> None:
    """Only a run of ours in which nothing began gives its name away: a model folder has a config.json too."""
    folder = tmp_path / "runs" / "fast"
    run_file = fast_run(tmp_path, processes=())
    if kind == "model":
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "llama"}')
    else:
        assert engine("run", run_file, "--name", "fast").code == 0
        shutil.rmtree(folder / "journal")
    files = sorted(folder.rglob("*"))
    outcome = engine("run", run_file, "--name", "fast")
    assert outcome.code == 2
    assert "exists" in outcome.errors
    assert sorted(folder.rglob("*")) == files
