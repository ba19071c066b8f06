"""The run file: what is refused, and with which sentence; --set, vars and stages."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from rft_core.config.merging import merge
from rft_core.config.run_file import RunFile, apply_override, load_run_file, parse_run
from rft_core.errors import ConfigError

BASE: dict[str, Any] = {
    "model": {"path": "some/model"},
    "data": {"train": {"type": "jsonl", "path": "train.jsonl"}},
    "grader": {"type": "string_check", "reference": "{{item.answer}}"},
    "optimizer": {"type": "policy_gradient"},
}


def parse(**changes: Any) -> RunFile:
    return parse_run({**BASE, **changes}, base_dir=Path("/data"))


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(**changes)
    return str(caught.value)


def load(folder: Path, text: str, *overrides: str) -> RunFile:
    path = folder / "run.yaml"
    path.write_text(text)
    return load_run_file(path, overrides)


MINIMAL = """\
model: {path: some/model}
data: {train: {type: jsonl, path: train.jsonl}}
optimizer: {type: sft}
"""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trainig": {}}, "trainig: unknown key 'trainig'; did you mean 'training'?"),
        (
            {"training": {"batchsize": 4}},
            "training.batchsize: unknown key 'batchsize'; did you mean 'batch_size'?",
        ),
        (
            {"grading": {"worker": {"thread": 2}}},
            "grading.worker.thread: unknown key 'thread'; did you mean 'threads'?",
        ),
        (
            {"validation": {"early_stopping": {"patients": 3}}},
            "validation.early_stopping.patients: unknown key 'patients'; did you mean 'patience'?",
        ),
    ],
)
def test_unknown_key_is_named_with_its_path_and_the_nearest_name(changes: dict[str, Any], sentence: str) -> None:
    """A typo at any depth is refused by its key path, with the name that was meant."""
    assert refusal(**changes) == sentence


def test_unknown_key_without_a_near_name_lists_all() -> None:
    """Where nothing is near, the sentence lists what there is."""
    assert refusal(budget={"xyz": 1}).endswith("choose from max_cost, max_time_s, max_tokens")


def test_wrong_values_are_named_with_what_was_given() -> None:
    """The sentence says where, what is allowed and what was found; further errors are counted."""
    text = refusal(training={"batch_size": 0, "group_size": 0})
    assert text == "training.batch_size: input should be greater than or equal to 1, got 0 (and 1 more)"
    assert refusal(name="../x").startswith("name: ")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optimizer": "grpo"}, "optimizer: wants a block of settings such as {type: …}, got 'grpo'"),
        ({"data": {"train": "a.jsonl"}}, "data.train: wants a block of settings such as {type: …}, got 'a.jsonl'"),
        ({"observers": [3]}, "observers.0: wants a block of settings such as {type: …}, got 3"),
        ({"sampling": 0.7}, "sampling: wants a block of settings such as {temperature: …}, got 0.7"),
    ],
)
def test_a_value_in_the_place_of_a_block_is_told_how_a_block_begins(changes: dict[str, Any], sentence: str) -> None:
    """With a key of that block."""
    assert refusal(**changes) == sentence


def test_missing_key_is_named() -> None:
    """A required key that is absent is named by its path."""
    assert refusal(data={}) == "data.train: this key is required"


def test_steps_and_epochs_exclude_each_other() -> None:
    """Two lengths of one run are a contradiction."""
    assert "give either steps or epochs, not both" in refusal(training={"steps": 3, "epochs": 1})


def test_duplicate_key_is_an_error(tmp_path: Path) -> None:
    """YAML would keep the last of two equal keys in silence."""
    with pytest.raises(
        ConfigError, match=r"run\.yaml, line 5, column 1: not valid YAML: the key 'seed' is given twice"
    ):
        load(tmp_path, MINIMAL + "seed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match=r"line 1, column 18: not valid YAML: the key 'path' is given twice"):
        load(tmp_path, "model: {path: a, path: b}\n")


def test_bad_yaml_names_line_and_column(tmp_path: Path) -> None:
    """The place of a syntax error is told, from 1."""
    with pytest.raises(
        ConfigError, match=r"run\.yaml, line 4, column 8: not valid YAML: mapping values are not allowed here"
    ):
        load(tmp_path, MINIMAL + "seed: a: b\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b\n", "a run file is a mapping of keys"),
        ("", "a run file is a mapping of keys"),
        ("grader: {reference: {{item.answer}}}\n", "put templates such as {{item.answer}} in quotes"),
        ("model: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_other_yaml_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """No mapping, an unquoted template and a tag that would build an object: a sentence, never a traceback."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert sentence in str(caught.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    """A path that leads nowhere, and a file that is no text."""
    with pytest.raises(ConfigError, match="there is no run file"):
        load_run_file(tmp_path / "no.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_run_file(tmp_path / "binary.yaml")


def test_set_reads_values_as_yaml(tmp_path: Path) -> None:
    """Numbers, lists, null and text arrive with their types; missing sections are made."""
    run = load(tmp_path, MINIMAL, "training.steps=7", "sampling.stop=[a, b]", "name=x-1", "checkpoints.interval=3")
    assert run.main.training.steps == 7
    assert run.main.sampling.stop == ("a", "b")
    assert run.main.name == "x-1"
    assert run.main.checkpoints.interval == 3
    assert load(tmp_path, MINIMAL + "grader: {type: a}\n", "grader=null").main.grader is None


def test_set_can_be_wrong_in_a_sentence(tmp_path: Path) -> None:
    """No value, a step into a value, a typo: each says which option."""
    for override, sentence in [
        ("training.steps", "--set takes key=value"),
        ("=3", "--set takes key=value"),
        ("optimizer.type.name=x", "--set optimizer.type.name: 'type' holds a value, not a mapping"),
        ("training.stepz=3", "training.stepz: unknown key 'stepz'; did you mean 'steps'?"),
        ("seed=[", "--set seed, line 1"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, MINIMAL, override)
        assert sentence in str(caught.value)


@pytest.mark.parametrize("value", ["{{item.x}}", "{{item.x}", "Answer: {{item.x}}", "it's {{item.x}}: {{item.y}}"])
def test_an_unquoted_template_of_set_is_shown_quoted(tmp_path: Path, value: str) -> None:
    """YAML reads braces as a mapping: the sentence names the key, and what it says to type in a shell works."""
    with pytest.raises(ConfigError, match=r"--set grader\.reference, line 1, column \d+: not valid YAML: ") as caught:
        load(tmp_path, MINIMAL, f"grader.reference={value}")
    shown = shlex.split(str(caught.value).partition("quotes that YAML sees: ")[2])
    assert shown[0] == "--set"
    raw: dict[str, Any] = {}
    apply_override(raw, shown[1])
    assert raw == {"grader": {"reference": value}}


def test_set_reaches_stages_by_name_and_number() -> None:
    """`stages.rft.…` and `stages.1.…` mean the same; an unknown stage names the nearest."""
    raw: dict[str, Any] = {"stages": [{"stage": "warm-up"}, {"stage": "rft"}]}
    apply_override(raw, "stages.rft.training.steps=5")
    apply_override(raw, "stages.1.training.batch_size=2")
    assert raw["stages"][1] == {"stage": "rft", "training": {"steps": 5, "batch_size": 2}}
    with pytest.raises(ConfigError, match="there is no entry 'warmup'; did you mean 'warm-up'"):
        apply_override(raw, "stages.warmup.seed=1")


def test_vars_fill_values_with_their_types() -> None:
    """A string that is one variable takes its type; inside a text it is inserted; templates are left alone."""
    run = parse(
        vars={"n": 12, "root": "big"},
        training={"steps": "${n}"},
        data={"train": {"type": "jsonl", "path": "${root}/train-${n}.jsonl"}},
    )
    assert run.main.training.steps == 12
    assert run.main.data.train["path"] == "big/train-12.jsonl"
    assert run.main.grader == {"type": "string_check", "reference": "{{item.answer}}"}


def test_unset_vars_are_errors_with_the_place() -> None:
    """A misspelt variable names the nearest; one that is null says how to set it."""
    assert refusal(vars={"model": "x"}, name="${modle}") == (
        "name: '${modle}' is not set under vars; did you mean 'model'?"
    )
    assert refusal(vars={"model": None}, name="${model}") == "vars.model: set it with --set vars.model=…"


def test_stages_inherit_and_override() -> None:
    """Each stage is the file with its own keys merged in; a component of another type replaces the whole."""
    run = parse(
        training={"batch_size": 16, "steps": 3},
        stages=[
            {"stage": "warm-up", "optimizer": {"type": "sft", "target": "{{item.answer}}"}, "training": {"steps": 9}},
            {"stage": "rft", "data": {"train": {"path": "other.jsonl"}}, "grader": None},
        ],
    )
    (first, warm_up), (second, rft) = run.stages
    assert (first, second) == ("warm-up", "rft")
    assert run.main is rft
    assert (warm_up.training.steps, warm_up.training.batch_size) == (9, 16)
    assert warm_up.optimizer == {"type": "sft", "target": "{{item.answer}}"}
    assert rft.optimizer == {"type": "policy_gradient"}
    assert rft.data.train == {"type": "jsonl", "path": "other.jsonl"}
    assert rft.grader is None


def test_merge_leaves_its_arguments_alone() -> None:
    """Stages are merged one after the other from the same base."""
    base = {"a": {"b": 1, "c": 2}, "keep": 0}
    assert merge(base, {"a": {"b": 3}, "new": 4}) == {"a": {"b": 3, "c": 2}, "keep": 0, "new": 4}
    assert base == {"a": {"b": 1, "c": 2}, "keep": 0}


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ([], "stages: stages is a list of mappings"),
        ([{"training": {}}], "stages.0: a stage is a mapping with a 'stage' name"),
        ([{"stage": "a"}, {"stage": "a"}], "stages.1.stage: two stages are named 'a'; rename one"),
        (
            [{"stage": "a"}, {"stage": "b", "optimzer": {}}],
            "stages.1.optimzer: unknown key 'optimzer'; did you mean 'optimizer'?",
        ),
    ],
)
def test_bad_stages_are_named_by_position(stages: list[Any], sentence: str) -> None:
    """An error in a stage says in which one."""
    assert refusal(stages=stages).startswith(sentence)


def test_a_model_without_type_is_a_pretrained_one() -> None:
    """`model: {path: …}` needs no type."""
    assert parse().main.model == {"type": "pretrained", "path": "some/model"}


def test_a_sampler_without_type_is_transformers() -> None:
    """So that `--set sampler.worker.count=3` works on a run file that names no sampler."""
    assert parse(sampler={"worker": {"count": 3}}).main.sampler_component == {"type": "transformers"}


def test_total_steps_count_whole_epochs() -> None:
    """Epochs are rounded up to whole steps; without any length it is one epoch."""
    assert parse(training={"batch_size": 32}).main.training.total_steps(100) == 4
    assert parse(training={"batch_size": 32, "epochs": 2}).main.training.total_steps(100) == 7
    assert parse(training={"batch_size": 32, "steps": 5}).main.training.total_steps(100) == 5


def test_worker_settings_of_the_sampler_are_checked_with_their_path() -> None:
    """`sampler.worker` is the engine's part of an otherwise foreign component."""
    run = parse(sampler={"type": "scripted", "worker": {"cuont": 2}})
    with pytest.raises(ConfigError, match=r"sampler\.worker\.cuont: unknown key 'cuont'; did you mean 'count'"):
        _ = run.main.sampler_worker
    assert run.main.sampler_component == {"type": "scripted"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("vars: {day: 2026-01-01}", "vars.day: .*a date cannot be kept as it is; put it in quotes"),
        ("budget: {max_time_s: .inf}", "budget.max_time_s: .*inf is not a finite number"),
        ("grader: {labels: [{1: a}]}", "grader.labels.0: .*the key 1 is no text"),
    ],
)
def test_values_that_json_does_not_have_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """config.json keeps the run file, so what YAML knows beyond JSON is told with its key."""
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load_run_file(path)


@pytest.mark.parametrize("override", ["sampling.stop.0.x=1", "observers.0.y.z=1", "observers.0.y=1"])
def test_set_below_a_value_is_refused(override: str) -> None:
    """A key below a text or a number."""
    with pytest.raises(ConfigError, match=r"below a value|holds a value"):
        apply_override({"sampling": {"stop": ["a"]}, "observers": ["b"]}, override)
