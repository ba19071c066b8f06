"""From preferences to a policy, with real processes: reward model, policy graded by it, dpo, and what is refused."""

import json
from pathlib import Path

import pytest

from rft_test_plugin.harness import ONE_THREAD, audit, engine, fingerprint, summary, tiny_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "rlhf"
SMALL = {
    "model.hidden_size": "32",
    "model.heads": "2",
    "stages.warm-up.data.train.count": "400",
    "stages.warm-up.training.steps": "6",
    "stages.warm-up.training.batch_size": "16",
    "stages.warm-up.validation.eval_interval": "6",
    "stages.warm-up.cache": "false",
}
REWARD = {
    "stages.reward.data.train.kwargs.count": "2000",
    "stages.reward.training.steps": "9",
    "stages.reward.training.batch_size": "16",
    "stages.reward.optimizer.learning_rate": "1.0e-2",
    "stages.reward.validation.eval_interval": "4",
    "stages.reward.data.validation.kwargs.count": "32",
}
POLICY = {
    "data.train.count": "400",
    "stages.rlhf.training.steps": "2",
    "stages.rlhf.training.batch_size": "4",
    "stages.rlhf.training.group_size": "4",
    "stages.rlhf.validation.eval_interval": "2",
    "stages.rlhf.data.validation.count": "4",
    "stages.rlhf.data.test.count": "4",
}


def overrides(values: dict[str, str], folder: Path) -> list[str]:
    return [
        part
        for key, value in {**values, "runs_dir": str(folder / "runs")}.items()
        for part in ("--set", f"{key}={value}")
    ]


@pytest.fixture(scope="module")
def reward_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's first run, small."""
    folder = tmp_path_factory.mktemp("reward")
    outcome = engine("run", EXAMPLE / "reward.yaml", *overrides({**SMALL, **REWARD}, folder), env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    return folder / "runs" / "rlhf-reward"


@pytest.mark.slow
def test_a_killed_reward_run_ends_with_the_same_bits(reward_run: Path, tmp_path: Path) -> None:
    """Killed between two checkpoints and resumed, it replays a step from its pairs; it learned what is preferred."""
    died = engine(
        "run",
        EXAMPLE / "reward.yaml",
        *overrides({**SMALL, **REWARD}, tmp_path),
        env={**ONE_THREAD, "RFT_FAILPOINT": "update.after_fsync@12"},
    )
    assert died.code == -9
    run_dir = tmp_path / "runs" / "rlhf-reward"
    outcome = engine("resume", run_dir, env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    assert fingerprint(run_dir) == fingerprint(reward_run)
    report = summary(run_dir)["validation"]
    assert report["before"]["metrics"]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert report["after"]["metrics"]["loss"] < 0.68
    assert report["after"]["metrics"]["accuracy"] > 0.5


@pytest.mark.slow
def test_a_policy_learns_from_the_reward_model(reward_run: Path, tmp_path: Path) -> None:
    """The example's second run, with sampler and grader workers: what it learns from is the reward model's score. What
    it sampled makes pairs for the next run."""
    settings = {**SMALL, **POLICY, "vars.reward_model": str(reward_run)}
    outcome = engine("run", EXAMPLE / "policy.yaml", *overrides(settings, tmp_path), env=ONE_THREAD)
    assert outcome.code == 0, outcome.errors
    run_dir = tmp_path / "runs" / "rlhf-policy"
    audit(run_dir)
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["reward_mean"] == pytest.approx(line["grader/preferred_mean"])
        assert 0 < line["reward_mean"] < 1
        assert line["rollouts"] == 16
        assert not any(key.startswith("error/") for key in line)
        assert line["trained_tokens"] > 0
    assert "preferred" in summary(run_dir)["test"]["after"]["graders"]
    source = {"type": "rollouts", "path": str(run_dir), "choose": "pairs"}
    for split in (source, {**source, "first_step": 2}):
        changes = {"data": {"train": split}, "optimizer": {"type": "dpo"}, "grader": None}
        checked = engine("validate", tiny_run(tmp_path / "pairs", processes=(), **changes), env=ONE_THREAD)
        assert checked.code == 0, checked.output


@pytest.mark.slow
def test_a_reward_model_is_no_policy(reward_run: Path, tmp_path: Path) -> None:
    """Its run sampled nothing and says so; it is exported as it is, and neither evaluated nor trained to write."""
    samples = engine("samples", reward_run, env=ONE_THREAD)
    assert samples.code == 2
    assert "samples nothing" in samples.errors
    shown = engine("show", reward_run, env={**ONE_THREAD, "COLUMNS": "200"})
    assert f"grader: {{type: reward_model, path: {reward_run}}}" in shown.output
    assert "rft-engine eval" not in shown.output
    assert "AutoModelForSequenceClassification" in (reward_run / "final" / "README.md").read_text()
    exported = engine("export", reward_run, "--out", tmp_path / "exported", env=ONE_THREAD)
    assert exported.code == 0, exported.errors
    settings = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert settings["architectures"] == ["LlamaForSequenceClassification"]
    (tmp_path / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "1+1="}]}\n')
    (tmp_path / "grader.json").write_text('{"type": "reward_model", "path": "' + str(reward_run) + '"}')
    evaluated = engine("eval", reward_run, "--data", tmp_path / "rows.jsonl", "--grader", tmp_path / "grader.json")
    trained = engine("run", tiny_run(tmp_path, processes=(), init_from=str(reward_run)), env=ONE_THREAD)
    for outcome in (evaluated, trained):
        assert outcome.code == 2
        assert "says how good a text is and writes none" in outcome.errors


def pairs(folder: Path) -> Path:
    """A file of pairs, in OpenAI's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"{n % 10}+{n // 10}="}]},
            "preferred_output": [{"role": "assistant", "content": f"#{n % 10 + n // 10}"}],
            "non_preferred_output": [{"role": "assistant", "content": f"#{n % 10};"}],
        }
        for n in range(40)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def dpo_run(folder: Path, **changes: object) -> Path:
    source = {"type": "preferences", "path": "pairs.jsonl"}
    values = {
        "data": {"train": {**source, "limit": 32}, "validation": {**source, "offset": 32}},
        "optimizer": {"type": "dpo", "learning_rate": 2e-3},
        **changes,
    }
    return tiny_run(pairs(folder), processes=(), **values)


@pytest.mark.slow
def test_a_killed_dpo_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    """In its second epoch: reference log-probabilities come from the checkpoint. Its policy is sampled on held-out
    rows and graded, beside the loss of their pairs."""
    for name, env in (("whole", {}), ("killed", {"RFT_FAILPOINT": "update.after_fsync@7"})):
        run_file = dpo_run(tmp_path / name)
        outcome = engine("run", run_file, "--name", "tiny", env={**ONE_THREAD, **env})
        if env:
            assert outcome.code == -9
            outcome = engine("resume", tmp_path / name / "runs" / "tiny", env=ONE_THREAD)
        assert outcome.code == 0, outcome.errors
    whole, killed = (tmp_path / name / "runs" / "tiny" for name in ("whole", "killed"))
    assert fingerprint(whole) == fingerprint(killed)
    report = summary(whole)["validation"]
    assert report["after"]["metrics"]["loss"] < report["before"]["metrics"]["loss"]
    assert report["after"]["metrics"]["rewards/accuracies"] > 0.5
    assert report["gain"]["rows"] == 8


def test_what_cannot_work_is_refused_before_it_starts(tmp_path: Path) -> None:
    """A grader for a model that writes nothing, a policy after a reward model, pairs without a rejected completion."""
    reward = {"type": "reward_model"}
    rejected = {"type": "dpo", "rejected": "{{item.worse}}"}
    stages = [{"stage": "reward", "optimizer": reward, "grader": None}, {"stage": "policy"}]
    cases = {
        "graded": ({"optimizer": reward}, "trains a model that writes nothing, so there is nothing to grade"),
        "after": (
            {"stages": stages, "optimizer": {"type": "policy_gradient"}},
            "cannot go on from the model of the stage 'reward'",
        ),
        "missing": ({"optimizer": rejected}, "{{item.worse}} is missing in 32 of 32 training rows"),
    }
    for name, (changes, sentence) in cases.items():
        outcome = engine("validate", dpo_run(tmp_path / name, **changes), env=ONE_THREAD)
        assert outcome.code == 2
        assert sentence in " ".join((outcome.output + outcome.errors).split())
        assert "Traceback" not in outcome.errors
