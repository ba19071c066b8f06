"""Dynamic sampling: groups without differences are replaced by groups of other rows."""

import json
from pathlib import Path
from typing import Any

from tiny_models import graded_group, rollout

from rft_core.runs.planning import Draw
from rft_core.runs.resample import collect_resampling
from rft_core.types import GradedGroup
from rft_test_plugin.harness import audit, engine, fast_run, fingerprint, launch, summary

GRADER = """
def grade(sample, item):
    # two rows of three are all right, whatever is answered
    return 1.0 if int(item["answer"]) % 3 else len(sample["output_text"]) % 7 / 7
"""


def group(draw: Draw, rewards: list[Any]) -> GradedGroup:
    return graded_group(draw.ordinal, [rollout(draw.ordinal, s, (1,), (2,), (-1.0,)) for s in range(2)], rewards)


def test_places_are_drawn_again_until_they_say_something() -> None:
    """Up to so many attempts, each with a row that the step has not seen; what stays dead stays; order is kept."""
    asked: list[list[Draw]] = []

    def draw(draws: Any) -> tuple[GradedGroup, ...]:
        asked.append(list(draws))
        return tuple(
            group(d, [0.0, 1.0] if d.index == 2 or (d.attempt == 2 and d.ordinal == 10) else [0.5, 0.5]) for d in draws
        )

    planned = [Draw(ordinal=10, index=0), Draw(ordinal=11, index=2), Draw(ordinal=12, index=4)]
    found = collect_resampling(planned, draw, attempts=2, rows=20, seed=1)
    assert [d.ordinal for d in asked[1]] == [10, 12]
    rows = [d.index for round_ in asked for d in round_]
    assert len(rows) == len(set(rows))
    assert [g.group.ordinal for g in found.groups] == [10, 11, 12]
    assert [place for place, _ in found.replaced] == [0]
    assert {d.ordinal: d.attempt for d in asked[2]} == {10: 2, 12: 2}
    assert len(found.discarded) == sum(len(round_) for round_ in asked[1:])
    assert collect_resampling(planned, draw, attempts=0, rows=20, seed=1).discarded == ()


def resampling_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "grader.py").write_text(GRADER)
    return fast_run(
        folder,
        grader={"type": "python_file", "path": "grader.py:grade"},
        training={"steps": 12, "batch_size": 4, "group_size": 4, "unit_size": 1, "resample": 2},
    )


def test_a_run_replaces_dead_groups_and_survives_a_kill(tmp_path: Path) -> None:
    """The journal says which rows took which places; tokens sampled in vain are counted; killed with −9 and resumed
    it ends with the same bits."""
    assert engine("run", resampling_run(tmp_path / "a"), "--name", "fast").code == 0
    run_dir = tmp_path / "a" / "runs" / "fast"
    audit(run_dir)
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["replaced_groups"] for line in lines) > 12
    assert all(line["sampled_tokens"] > 4 * 4 * 8 for line in lines if line["replaced_groups"])
    process = launch("run", resampling_run(tmp_path / "b"), "--name", "fast", env={"RFT_FAILPOINT": "update.before@5"})
    process.communicate(timeout=60)
    killed = tmp_path / "b" / "runs" / "fast"
    assert not (killed / "summary.json").exists() or summary(killed)["status"] != "succeeded"
    assert engine("resume", killed).code == 0
    audit(killed)
    assert fingerprint(killed) == fingerprint(run_dir)


def test_groups_of_one_cannot_be_resampled(tmp_path: Path) -> None:
    """A sentence with the key, before anything starts."""
    run_file = fast_run(tmp_path, training={"steps": 1, "group_size": 1, "resample": 1})
    outcome = engine("run", run_file)
    assert outcome.code == 2
    assert "resample replaces groups without differences" in outcome.errors


def test_groups_of_one_need_an_algorithm_that_does_without(tmp_path: Path) -> None:
    """A sentence with the key, before anything starts."""
    settings = {"optimizer": {"type": "policy_gradient"}, "training": {"steps": 1, "group_size": 1}}
    outcome = engine("validate", fast_run(tmp_path, **settings))
    assert outcome.code == 2
    assert "training.group_size: the advantage 'group_normalized' compares the rollouts of a prompt" in outcome.errors
