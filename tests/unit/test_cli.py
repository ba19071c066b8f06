"""The commands beside run and resume, on a real finished run."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_models import REGISTRY

from rft_core import api
from rft_core.cli import main
from rft_core.cli.plugin_commands import type_name
from rft_core.cli.tables import _next_commands
from rft_core.config.run_file import RunConfig
from rft_core.runs.preflight import check_model
from rft_core.storage import store
from rft_core.storage.rundir import RunDir
from rft_core.types import Grade, GradedGroup, Group, Item, Rollout
from rft_test_plugin.harness import fast_run, tiny_run

ALL_IN_PROCESS: dict[str, Any] = {
    "sampler": {"type": "scripted", "worker": {"in_process": True}},
    "grading": {"worker": {"in_process": True}},
    "validation": {"eval_interval": 4, "unit_size": 3, "eval_samples": 2},
}
HOSTILE = "\x1b]0;owned\x07[red]not markup[/red] \u202egnp.exe \x9b2J :boom:"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Result]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run rft-engine in this process."""

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["rft-engine", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run of 12 steps, without worker processes."""
    folder = tmp_path_factory.mktemp("finished")
    summary = api.run(fast_run(folder, **ALL_IN_PROCESS))
    assert summary["status"] == "succeeded"
    return folder / "runs" / "fast"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(finished, tmp_path / "runs" / "fast")
    return tmp_path / "runs" / "fast"


def test_help_and_plugins_load_nothing_heavy() -> None:
    """Neither torch nor gRPC nor pyarrow is imported to show the help or list plugins."""
    code = (
        "import sys\nfrom rft_core.cli import main\n"
        "sys.argv = ['rft-engine', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('HEAVY', sorted({'torch', 'transformers', 'grpc', 'pyarrow'} & set(sys.modules)))\n"
    )
    for arguments in (["--help"], ["plugins"], ["plugins", "show", "grader/string_check"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_help_lists_commands_of_core_and_plugins(call: Call) -> None:
    """All commands, each with a line of help of its own."""
    result = call("--help")
    assert result.code == 0
    for command in ("run", "resume", "validate", "plugins", "eval", "runs", "show", "samples"):
        assert f"\n  {command}" in result.out
        assert call(command, "--help").code == 0


def test_unknown_command_names_the_nearest(call: Call) -> None:
    """A typo is one sentence, not a traceback."""
    result = call("smaples")
    assert result.code == 2
    assert "there is no command 'smaples'; did you mean 'samples'?" in result.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "no.yaml"], "there is no run file no.yaml"),
        (["resume", "nowhere"], "nowhere does not exist, so it is not a run directory"),
        (["show", "nowhere"], "nowhere does not exist, so it is not a run directory"),
        (["samples", "nowhere"], "nowhere does not exist, so it is not a run directory"),
        (["validate", "no.yaml"], "there is no run file no.yaml"),
        (["runs", "--dir", "nowhere"], "there is no folder nowhere"),
        (["eval", "./nowhere", "--data", "x.jsonl"], "there is no run directory or model folder ./nowhere"),
        (
            ["plugins", "show", "grader/strng_check"],
            "there is no grader named 'strng_check'; did you mean 'string_check'?",
        ),
        (
            ["plugins", "show", "preset/gropo"],
            "there is no component named 'preset/gropo'; did you mean 'preset/grpo'?",
        ),
        (["plugins", "show", "token"], "several parts are named 'token'"),
        (["plugins", "show", "grdr/x"], "there is no kind of component named 'grdr'; did you mean 'grader'?"),
        (["plugins", "show", "strng_check"], "there is no component named 'strng_check'; did you mean 'string_check'?"),
    ],
)
def test_mistakes_are_one_sentence(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    """Each says what is wrong and exits with 2; a traceback is shown only with RFT_DEBUG=1."""
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.code == 2
    assert sentence in result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    monkeypatch.setenv("RFT_DEBUG", "1")
    assert "Traceback" in call(*arguments).err


def test_error_sentences_are_inert(call: Call, tmp_path: Path) -> None:
    """A file name or a row that an error quotes cannot steer the terminal."""
    result = call("show", tmp_path / "x\x1b[2J")
    assert result.code == 2
    assert "\x1b" not in result.err
    assert "x\\x1b[2J" in result.err


def test_plugins_lists_status_and_components(call: Call) -> None:
    """The table names distributions; JSON has everything, filtered by kind."""
    result = call("plugins")
    assert result.code == 0
    assert "rft-graders" in result.out
    assert "string_check" in result.out
    values = call("plugins", "--kind", "grader", "--json").json
    assert set(values["components"]) == {"grader"}
    assert "rft-graders" in [p["distribution"] for p in values["plugins"]]
    assert "rft-data-jsonl" not in [p["distribution"] for p in values["plugins"]]
    (check,) = (c for c in values["components"]["grader"] if c["name"] == "string_check")
    assert check["distribution"].startswith("rft-graders ")


def test_plugins_tells_what_is_broken(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that cannot be imported is listed with the reason; one that takes a core command's name is a conflict."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, source in (
        ("cli_test_broken", "raise RuntimeError('GPU on fire')"),
        (
            "cli_test_commands",
            "from rft_core import CommandSpec, hookimpl\n"
            "def load():\n    raise OSError('half installed')\n"
            "@hookimpl\ndef rft_commands():\n"
            "    return [CommandSpec(name=n, load=load, summary='From acme.') for n in ('runs', 'acme')]\n",
        ),
    ):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[rft_engine.plugins]\n{name} = {name}\n")
    plugins = {p["distribution"]: p for p in call("plugins", "--json").json["plugins"]}
    assert plugins["cli_test_broken"]["status"] == "error"
    assert "GPU on fire" in plugins["cli_test_broken"]["message"]
    assert plugins["cli_test_commands"]["status"] == "conflict"
    assert "command/runs is rft-engine's own command" in plugins["cli_test_commands"]["message"]
    assert "From acme." in call("--help").out
    result = call("acme")
    assert result.code == 2
    assert "the command 'acme' of cli_test_commands 1.0 cannot be loaded: OSError: half installed" in result.err
    assert call("runs", "--dir", tmp_path).code == 0


def test_plugins_show_says_what_a_preset_sets(call: Call) -> None:
    """Part by part, as a run file would; a part of an optimizer is found by its role and name."""
    values = call("plugins", "show", "preset/dapo", "--json").json
    assert values["component"] == "optimizer_part/preset/dapo"
    assert values["sets"]["objective"] == {"type": "clip", "low": 0.2, "high": 0.28}
    assert "high: 0.28" in call("plugins", "show", "optimizer_part/preset/dapo").out
    assert call("plugins", "show", "dapo", "--json").json == values
    fields = call("plugins", "show", "objective/clip", "--json").json["fields"]
    assert [field["name"] for field in fields] == ["low", "high", "dual"]


def test_plugins_show_describes_fields(call: Call) -> None:
    """Every field with type, default and description; a name alone is enough where it is unique."""
    values = call("plugins", "show", "grader/string_check", "--json").json
    fields = {f["name"]: f for f in values["fields"]}
    assert values["distribution"] == "rft-graders"
    assert fields["operation"]["type"] == "eq | ne | like | ilike"
    assert fields["operation"]["required"]
    assert fields["operation"]["description"]
    fields = {f["name"]: f for f in call("plugins", "show", "jsonl", "--json").json["fields"]}
    assert (fields["offset"]["type"], fields["offset"]["default"]) == ("integer (≥ 0)", "0")
    assert "required" in call("plugins", "show", "data_source/jsonl").out


def test_type_names_read_like_the_run_file() -> None:
    """Annotations are said in the words of YAML."""
    assert type_name(int | None) == "integer or null"
    assert type_name(tuple[str, ...]) == "list of string"
    assert type_name(dict[str, float]) == "mapping of number"
    assert type_name(bool) == "true | false"


def test_runs_lists_status_and_gain(call: Call, finished: Path) -> None:
    """The line of a finished run: status, steps and validation from the first to the last evaluation."""
    summary = json.loads((finished / "summary.json").read_text())
    (run,) = call("runs", "--dir", finished.parent, "--json").json
    assert (run["name"], run["status"], run["steps"], run["total_steps"]) == ("fast", "succeeded", 12, 12)
    assert run["validation_before"] == pytest.approx(summary["validation"]["before"]["reward_mean"])
    assert run["validation_after"] == pytest.approx(summary["validation"]["after"]["reward_mean"])
    result = call("runs", "--dir", finished.parent)
    assert "succeeded" in result.out
    assert "12/12" in result.out


def test_runs_tells_running_from_interrupted(call: Call, copied: Path) -> None:
    """With the lock held a run is running; without summary and lock it was interrupted; a torn config is unreadable."""

    def status() -> str:
        (run,) = call("runs", "--dir", copied.parent, "--json").json
        return str(run["status"])

    run_dir = RunDir.open(copied)
    run_dir.lock()
    assert status() == "running"
    run_dir.unlock()
    assert status() == "succeeded"
    summary = run_dir.read_summary()
    assert summary is not None
    for ended in ("stopped", "failed"):
        run_dir.write_summary({**summary, "status": ended})
        assert status() == ended
    run_dir.write_summary({**summary, "status": "stopped", "steps": 5})
    assert status() == "interrupted"
    (copied / "summary.json").unlink()
    assert status() == "interrupted"
    (copied / "summary.json").write_text("{")
    assert status() == "unreadable"
    assert "unreadable" in call("runs", "--dir", copied.parent).out


def test_a_failed_stage_makes_the_run_failed(call: Call, copied: Path) -> None:
    """A run whose first stage failed has no summary of its own, and is not merely interrupted."""
    stage = copied / "stages" / "1-warm-up"
    stage.mkdir(parents=True)
    shutil.copy(copied / "config.json", stage)
    (copied / "summary.json").unlink()
    (stage / "summary.json").write_text(json.dumps({"status": "failed", "steps": 3}))
    values = call("show", copied, "--json").json
    assert values["status"] == "failed"
    assert [s["status"] for s in values["stages"]] == ["failed"]


def test_show_tells_the_summary_and_what_happened(call: Call, copied: Path) -> None:
    """The before/after table, checkpoints, and events worth knowing with their number."""
    run_dir = RunDir.open(copied)
    for _ in range(3):
        run_dir.log_event("worker_died", worker="sampler-1", error="killed by signal 9")
    values = call("show", copied, "--json").json
    assert values["checkpoints"] == [4, 8, 12]
    assert values["events"]["worker_died"]["count"] == 3
    assert set(values["events"]) == {"worker_died"}
    assert values["last_metrics"]["step"] == 12
    result = call("show", copied)
    for part in (
        "validation reward",
        "test reward",
        "gain",
        "p = ",
        "3 × worker_died",
        "killed by signal 9",
        "step-000012",
        "final",
    ):
        assert part in result.out


def test_summary_of_a_run_that_did_not_end(call: Call, copied: Path) -> None:
    """A stopped run has a reason and the command that goes on, and no table."""
    RunDir.open(copied).write_summary(
        {"status": "stopped", "reason": "the time budget is used up", "steps": 12, "wall_s": 61.0}
    )
    out = call("show", copied).out
    assert "stopped: the time budget is used up" in out
    assert f"rft-engine resume {copied}" in out
    assert "validation reward" not in out


def test_samples_orders_by_reward(call: Call, finished: Path) -> None:
    """--worst and --best are the two ends of the rewards of the step's file."""
    table = store.read_table(finished / "rollouts" / "step-000003.parquet")
    rewards = sorted(table.column("reward").to_pylist())
    worst = call("samples", finished, "--step", "3", "--worst", "-n", "4", "--json").json
    best = call("samples", finished, "--step", "3", "--best", "-n", "4", "--json").json
    assert [s["reward"] for s in worst] == rewards[:4]
    assert [s["reward"] for s in best] == rewards[::-1][:4]
    assert worst[0]["prompt"].startswith("train ")
    assert worst[0]["metrics"]["chars"] == len(worst[0]["text"])


def test_samples_finds_splits_and_steps(call: Call, finished: Path) -> None:
    """The latest step by default, each split in its own files, and the nearest steps when one is missing."""
    assert {s["step"] for s in call("samples", finished, "--json").json} == {12}
    test = call("samples", finished, "--split", "test", "-n", "100", "--json").json
    assert len(test) == 8
    assert {s["prompt"] for s in test} == {f"test {i}" for i in range(4)}
    result = call("samples", finished, "--split", "validation", "--step", "5")
    assert result.code == 2
    assert "holds no validation rollouts of step 5; the nearest of its 4 steps are 0, 4, 8, 12" in result.err


def test_samples_takes_one_order(call: Call, finished: Path) -> None:
    """--worst with --best is a contradiction, not the last of the two."""
    result = call("samples", finished, "--worst", "--best")
    assert result.code == 2
    assert "--worst and --best are two orders of the same rows; give one of them" in result.err


def run_next(call: Call, run_dir: Path) -> list[str]:
    """The commands that `show` names next, which all work; FILE is the run's validation file, or a grader."""
    folder = run_dir.parent.parent
    (folder / "grader.yaml").write_text("type: test_constant\n")
    (folder / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "1+2="}]}\n')
    commands = _next_commands("succeeded", run_dir)
    for command in commands:
        typed = command.replace("--data FILE", f"--data {folder / 'rows.jsonl'}")
        typed = typed.replace("--grader FILE", f"--grader {folder / 'grader.yaml'}")
        result = call(*shlex.split(typed)[1:])
        assert result.code == 0, f"{command}: {result.err}"
    return commands


@pytest.mark.parametrize(
    ("changes", "split"),
    [
        ({}, "validation"),
        ({"validation": {"eval_interval": 2, "sampling": False}}, "train"),
        ({"data": {"train": {"type": "jsonl", "path": "train.jsonl"}}}, "train"),
    ],
)
def test_what_show_names_next_works(call: Call, tmp_path: Path, changes: dict[str, Any], split: str) -> None:
    """Also for runs that validate without sampling, or not at all; and `samples` says so where it is asked for it."""
    training = {"steps": 2, "batch_size": 4, "group_size": 2}
    api.run(fast_run(tmp_path, **{**ALL_IN_PROCESS, "training": training, **changes}))
    run_dir = tmp_path / "runs" / "fast"
    assert f"--split {split} --worst" in run_next(call, run_dir)[0]
    if split == "train":
        result = call("samples", run_dir, "--split", "validation")
        assert result.code == 2
        assert "holds no validation rollouts: it samples none; look at --split train" in result.err


def test_a_run_that_samples_nothing_says_so(call: Call, tmp_path: Path) -> None:
    """Supervised fine-tuning: `show` names no samples, and `samples` promises none."""
    run_file = tiny_run(
        tmp_path,
        optimizer={"type": "sft", "target": "{{item.target}}"},
        grader=None,
        data={
            split: {"type": "arithmetic", "digits": 1, "count": 8, "split": split} for split in ("train", "validation")
        },
        sampler={"type": "transformers", "worker": {"in_process": True}},
        grading={"worker": {"in_process": True}},
        training={"steps": 1, "batch_size": 4},
        observers=[],
    )
    api.run(run_file)
    run_dir = tmp_path / "runs" / "tiny"
    (command,) = run_next(call, run_dir)
    assert command.startswith("rft-engine eval ")
    result = call("samples", run_dir)
    assert result.code == 2
    assert "holds no train rollouts: it samples nothing" in result.err


def test_samples_are_to_come_before_the_first_step(call: Call, tmp_path: Path) -> None:
    """A run that has not taken a step may sample yet."""
    RunDir.create(tmp_path / "new", {}).unlock()
    result = call("samples", tmp_path / "new")
    assert result.code == 2
    assert "holds no train rollouts; if the run samples any, they come with its first step" in result.err


def test_a_result_of_the_cache_has_no_rollouts(call: Call, copied: Path) -> None:
    """A stage that was not trained again sampled before, elsewhere: `samples` does not say that it samples nothing."""
    run_dir = RunDir.open(copied)
    run_dir.write_summary({**(run_dir.read_summary() or {}), "cached": True})
    shutil.rmtree(run_dir.rollouts)
    result = call("samples", copied)
    assert result.code == 2
    assert "holds no train rollouts: its result comes from the cache, which keeps none" in result.err


def test_show_tells_completions_without_a_score(call: Call, copied: Path) -> None:
    """How many, and by which outcome; nothing where all were scored."""
    assert "without a score" not in call("show", copied).out
    run_dir = RunDir.open(copied)
    summary = run_dir.read_summary()
    assert summary is not None
    summary["validation"]["after"]["errors"] = {"grader_error": 3, "timed_out": 1}
    run_dir.write_summary(summary)
    (line,) = (line for line in call("show", copied).out.splitlines() if "without a score" in line)
    assert line.split() == ["without", "a", "score", "none", "3", "grader_error,", "1", "timed_out", "none"]


def test_samples_shows_hostile_text_inert(call: Call, copied: Path) -> None:
    """Escape sequences, markup, bidi overrides and emoji codes of a completion arrive as text."""
    item = Item(key=f"key {HOSTILE}", index=0, row={"messages": [{"role": "user", "content": HOSTILE}]})
    grades = (Grade.error("other_error", HOSTILE), Grade.score(1.0, sub_rewards={HOSTILE: 0.5}))
    rollouts = tuple(
        Rollout(ordinal=0, sample=n, seed=0, segments=(), text=HOSTILE, finish_reason="stop") for n in range(2)
    )
    group = GradedGroup(group=Group(ordinal=0, item=item, rollouts=rollouts), grades=grades)
    store.write(copied / "rollouts" / "step-000099.parquet", store.to_table(99, [group]))
    result = call("samples", copied, "--worst")
    assert result.code == 0
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(result.out)
    assert "\\x1b]0;owned\\x07[red]not markup[/red] \\u202egnp.exe \\x9b2J :boom:" in result.out
    assert result.out.index("no reward") < result.out.index("reward 1.000")
    as_json = call("samples", copied, "--json")
    assert as_json.out.isascii()
    assert as_json.json[0]["text"] == HOSTILE


def test_validate_accepts_a_good_file(call: Call, tmp_path: Path) -> None:
    """Exit code 0, sizes and lengths of both splits."""
    path = fast_run(tmp_path)
    result = call("validate", path)
    assert result.code == 0
    assert "training: 20 rows" in result.out
    assert "validation: 6 rows" in result.out
    values = call("validate", path, "--json").json
    assert values["valid"]
    assert values["stages"]["main"]["train"]["rows"] == 20
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "valid", "message"),
    [
        (
            {"grader": {"type": "test_raising"}},
            False,
            "the grader failed on 24 of 24 trial answers, first on train.jsonl:1: ",
        ),
        ({"grader": {"type": "test_exiting"}}, False, "the grader failed on 24 of 24 trial answers"),
        ({"grader": {"type": "test_constant"}}, True, "the grader gave 1 to all 24 trial answers"),
        ({"model": {"path": "./nowhere"}}, False, "model.path: there is no model folder "),
        ({"model": {"path": "pickled"}}, False, "holds only pickled weights"),
        ({"model": {"path": "sharded"}}, False, "lacks 1 of 2 weight files, such as b.safetensors"),
        ({"model": {"path": "scorer"}}, False, "scorer says how good a text is and writes none, so it is no policy"),
        (
            {"model": {"path": "a_run"}},
            False,
            "a_run is a run, not a model folder; give the model that it began with, and",
        ),
        (
            {"model": {"path": "adapter"}},
            False,
            "adapter holds an adapter, not a model; give its base model, and set init",
        ),
        ({"model": {"path": "acme/unknown-model"}}, True, "the run will fetch it from the hub"),
        ({"init_from": "nowhere"}, False, "holds no weights"),
        (
            {
                "grader": {
                    "type": "string_check",
                    "input": "{{sample.output_text}}",
                    "reference": "{{item.anwser}}",
                    "operation": "eq",
                }
            },
            False,
            "{{item.anwser}} is missing in 20 of 20 training rows",
        ),
    ],
)
def test_validate_finds_what_would_fail(
    call: Call, tmp_path: Path, changes: dict[str, Any], valid: bool, message: str
) -> None:
    """Graders that raise or cannot tell answers apart, models that are not there, misspelt variables."""
    path = fast_run(tmp_path, **changes)
    weights = {"pickled": ["pytorch_model.bin"], "sharded": ["a.safetensors"], "scorer": ["model.safetensors"]}
    weights |= {"a_run": [], "adapter": ["adapter_model.safetensors"]}
    for name, files in weights.items():
        (tmp_path / name).mkdir()
        for file in ("config.json", "tokenizer.json", *files):
            (tmp_path / name / file).write_text("{}")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (tmp_path / "sharded" / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "a_run" / "journal").mkdir()
    (tmp_path / "scorer" / "config.json").write_text('{"architectures": ["LlamaForSequenceClassification"]}')
    result = call("validate", path, "--json")
    assert result.code == (0 if valid else 2)
    assert result.json["valid"] is valid
    told = result.json["warnings" if valid else "errors"]
    assert any(message in text for text in told), told


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ({"layers": 2}, {"layers": 2, "device": "cpu", "dtype": "bfloat16"}, None),
        ({"layers": 2}, {"heads": 4}, None),  # the defaults
        ({"layers": 3}, {"layers": 2, "heads": 8}, "another model (layers: 3, heads: 4) than this run file describes (layers: 2, heads: 8)"),
        ({"type": "pretrained", "path": "m"}, {"type": "pretrained", "path": "../runs/m", "revision": "v1"}, None),
        ({"type": "pretrained", "path": "m"}, {"type": "pretrained", "path": "m"}, "{runs}/m, hidden_size: 8) than this run file describes (path: {here}/m, hidden_size: 4)"),
        ({"type": "pretrained", "path": "m"}, {"type": "pretrained", "path": "same"}, "warning: (path: {runs}/m), and this run file describes (path: {here}/same)"),
        ({"type": "pretrained", "path": "gone"}, {"type": "pretrained", "path": "m"}, "warning: (path: gone), and this run file describes (path: m)"),
        ({"type": "pretrained", "path": "gone"}, {"type": "pretrained", "path": "gone/it"}, "warning: (path: gone), and"),
        ({"type": "pretrained", "path": "a/b"}, {"type": "pretrained", "path": "a/b", "revision": "main"}, None),
        ({"type": "pretrained", "path": "a/b"}, {"layers": 2}, "warning: (type: pretrained, path: a/b), and this run file describes (type: tiny_llama)"),
        ({"type": "gone", "size": 1}, {"layers": 2}, "(type: gone) than this run file describes (type: tiny_llama)"),
    ],
)  # fmt: skip
def test_init_from_goes_on_with_the_same_model(
    tmp_path: Path, theirs: dict[str, Any], ours: dict[str, Any], said: str | None
) -> None:
    """A run that certainly began with another model is refused, wherever in it the weights lie, and one of which that
    cannot be known is a warning; other devices and precisions are no other model, and an export in a run is one of its own."""
    here, runs = tmp_path / "here", tmp_path / "runs"
    sizes = {here / "m": 4, here / "same": 8, runs / "m": 8}
    kept = [runs / "r" / place for place in ("final", "checkpoints/step-000002/optimizer/policy", "merged")]
    for folder in (*sizes, *kept):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"hidden_size": sizes[folder]} if folder in sizes else {}))
        for file in ("model.safetensors", "tokenizer.json"):
            (folder / file).touch()
    tiny = {"type": "tiny_llama", "tokenizer": {"type": "characters", "alphabet": "01"}}
    theirs, ours = (model if "type" in model else {**tiny, **model} for model in (theirs, ours))
    (runs / "r/config.json").write_text(json.dumps({"base_dir": str(runs), "resolved": {"model": theirs}}))
    for place in ("", "final", "checkpoints/step-000002", "checkpoints/step-000002/optimizer/policy", "merged"):
        raw = {"model": ours, "data": {"train": {}}, "optimizer": {"type": "sft"}, "init_from": str(runs / "r" / place)}
        found = check_model(REGISTRY, RunConfig.model_validate(raw), here)
        warnings = [warning for warning in found.warnings if warning.startswith("init_from")]
        if said is None or place == "merged":
            assert (found.errors, warnings) == ([], [])
            continue
        certain = not said.startswith("warning: ")
        (problem,) = found.errors if certain else warnings
        assert [*found.errors, *warnings] == [problem]
        assert problem.startswith(
            f"init_from: the run {runs / 'r'} began with {'another' if certain else 'the'} model ("
        )
        assert said.removeprefix("warning: ").format(runs=runs, here=here) in problem


def test_validate_does_not_call_a_sound_grader_constant(call: Call, tmp_path: Path) -> None:
    """An exact-match grader gives 0 to most trial answers, but 1 to the row's own answer."""
    grader = {
        "type": "string_check",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "operation": "eq",
    }
    values = call("validate", fast_run(tmp_path, grader=grader), "--json").json
    assert values["valid"]
    assert values["warnings"] == []


def test_validate_reports_errors_as_json_too(call: Call, tmp_path: Path) -> None:
    """With --json even a broken run file gives nothing but JSON on standard output."""
    path = fast_run(tmp_path, samplng={})
    result = call("validate", path, "--json")
    assert result.code == 2
    assert result.json["errors"] == ["samplng: unknown key 'samplng'; did you mean 'sampling'?"]
    assert result.err == ""


def test_dry_run_resolves_and_starts_workers(call: Call, tmp_path: Path) -> None:
    """The resolved file with defaults, the size of the data, what each worker says; no run directory."""
    result = call("run", fast_run(tmp_path, **ALL_IN_PROCESS), "--dry-run", "--set", "training.steps=7")
    assert result.code == 0
    for part in (
        "group_size: 4",
        "temperature: 1.0",
        "# stage main, train: rows 20",
        "# stage main: steps 7",
        "fingerprint scripted-1",
    ):
        assert part in result.out
    assert "# grader: worker_started" in result.out
    assert not (tmp_path / "runs").exists()


def test_dry_run_checks_the_grader(call: Call, tmp_path: Path) -> None:
    """Lengths are no rewards between 0 and 1: the run would be refused, and so is its dry run."""
    result = call("run", fast_run(tmp_path, **ALL_IN_PROCESS), "--dry-run", "--set", "grading.check=true")
    assert result.code == 2
    assert "the grader 'test_text_length' fails its check: out_of_range" in result.err


def test_dry_run_tells_what_would_fail(call: Call, tmp_path: Path) -> None:
    """A setting that only the component refuses ends in its sentence."""
    result = call("run", fast_run(tmp_path, **ALL_IN_PROCESS), "--dry-run", "--set", "sampler.vocab_sise=7")
    assert result.code == 2
    assert "sampler.vocab_sise: unknown key 'vocab_sise'; did you mean 'vocab_size'?" in result.err


def test_eval_gives_the_numbers_of_the_run(call: Call, finished: Path) -> None:
    """Evaluating the run's test file again, base and result, equals what its summary says, to the bit."""
    test = json.loads((finished / "summary.json").read_text())["test"]
    data = finished.parent.parent / "test.jsonl"
    values = call("eval", finished, "--data", data, "--compare", "--json").json
    for mine, own in (("base", "before"), ("result", "after")):
        assert values[mine] == {k: v for k, v in test[own].items() if k != "step"}
    assert values["gain"] == test["gain"]
    table = call("eval", finished, "--data", data, "--compare").out
    assert "against the base: gain" in table
    assert "4 rows of" in table


def test_eval_takes_checkpoints_limits_and_graders(call: Call, finished: Path, tmp_path: Path) -> None:
    """Another checkpoint, fewer rows, more samples, and a grader from a file."""
    data = finished.parent.parent / "test.jsonl"
    (tmp_path / "grader.yaml").write_text("type: test_constant\nreward: 0.75\n")
    values = call(
        "eval", finished, "--data", data, "--checkpoint", "4", "--limit", "2", "--samples", "3", "--json"
    ).json
    assert (values["rows"], values["samples"]) == (2, 3)
    assert "step-000004" in values["weights"]
    values = call("eval", finished, "--data", data, "--grader", tmp_path / "grader.yaml", "--json").json
    assert values["result"]["reward_mean"] == 0.75
    best = json.loads((finished / "summary.json").read_text())["best_step"]
    values = call("eval", finished, "--data", data, "--checkpoint", "best", "--json").json
    assert f"step-{best:06d}" in values["weights"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--checkpoint", "3"], "keeps no checkpoint of step 3; it has 4, 8, 12"),
        (["--checkpoint", "newest"], "a checkpoint is last, best or the number of a step, not 'newest'"),
        (["--grader", "no.json"], "the grader file no.json cannot be read"),
        (["--temperature", "-1"], "-1"),
    ],
)
def test_eval_refuses_in_a_sentence(call: Call, finished: Path, options: list[str], sentence: str) -> None:
    """Missing checkpoints, files and impossible settings."""
    result = call("eval", finished, "--data", finished.parent.parent / "test.jsonl", *options)
    assert result.code == 2
    assert sentence in result.err


def test_eval_counts_grades_that_failed(call: Call, finished: Path, tmp_path: Path) -> None:
    """A grader that always fails gives no mean and a count, never a 0."""
    (tmp_path / "grader.json").write_text('{"type": "test_raising"}')
    data = finished.parent.parent / "test.jsonl"
    result = call("eval", finished, "--data", data, "--grader", tmp_path / "grader.json", "--json").json["result"]
    assert result["reward_mean"] is None
    assert result["errors"] == {"grader_error": 8}
    table = call("eval", finished, "--data", data, "--grader", tmp_path / "grader.json").out
    assert "without a score" in table
    assert "8 grader_error" in table


def test_completion_knows_commands_and_options(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Click's shell completion works through the lazy group."""
    from click.shell_completion import BashComplete

    from rft_core.cli import cli

    complete = BashComplete(cli, {}, "rft-engine", "_RFT_ENGINE_COMPLETE")
    assert {c.value for c in complete.get_completions([], "r")} == {"run", "regrade", "resume", "runs"}
    assert "--worst" in {c.value for c in complete.get_completions(["samples"], "--w")}


def test_run_prints_events_and_then_the_summary(call: Call, tmp_path: Path) -> None:
    """Not on a terminal: one JSON object a line, the summary last, nothing else."""
    result = call("run", fast_run(tmp_path, **ALL_IN_PROCESS), "--set", "training.steps=2")
    lines = [json.loads(line) for line in result.out.splitlines()]
    kinds = [line["event"] for line in lines]
    assert result.code == 0
    assert kinds[0] == "stage_started"
    assert kinds.count("step_finished") == 2
    assert kinds[-1] == "summary"
    assert lines[-1]["status"] == "succeeded"
    assert "phase" not in kinds
    assert result.err == ""
