"""Preference pairs as people keep them: the data source `preferences`, and what counts as a completion."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from rft_core.contract import check_data_source
from rft_core.errors import DataError, RunDirError
from rft_core.registry import Registry
from rft_core.rows import parse_row
from rft_core.specs import BuildContext
from rft_core.storage.store import to_table, write
from rft_core.types import Grade, GradedGroup, Group, Item, Rollout
from rft_preference import rft_optimizers
from rft_preference.completions import completion_of
from rft_preference.config import DpoConfig, PreferencesConfig, RewardModelConfig, RolloutsConfig
from rft_preference.layouts import pair_row
from rft_preference.rollouts import RolloutsSource
from rft_preference.source import PreferencesSource

USER = {"role": "user", "content": "2+2="}
GOOD, BAD = {"role": "assistant", "content": "4"}, {"role": "assistant", "content": "5"}
HH = "\n\nHuman: 2+2=\n\nAssistant:"


@pytest.mark.parametrize(
    "raw",
    [
        {"input": {"messages": [USER], "tools": []}, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
        {"messages": [USER], "chosen": "4", "rejected": "5"},
        {"messages": [USER], "chosen": [GOOD], "rejected": BAD},
        {"messages": [USER], "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "2+2=", "chosen": "4", "rejected": "5"},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "2+2=", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": f"{HH} 4", "rejected": f"{HH} 5"},
    ],
)
def test_every_layout_gives_the_same_row(raw: dict[str, Any]) -> None:
    """OpenAI's layout and those of the hub come to one prompt and two texts; other keys stay."""
    row = pair_row({**raw, "source": "a"})
    assert row == {"messages": [USER], "chosen": "4", "rejected": "5", "source": "a"}


@pytest.mark.parametrize(
    "row", [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"input": {}, "preferred_output": []}]
)
def test_other_sources_say_who_reads_pairs(row: dict[str, Any]) -> None:
    """A file of pairs given as `jsonl` is pointed to the right source."""
    with pytest.raises(DataError, match="type: preferences"):
        parse_row(json.dumps(row).encode())


def test_openai_tools_and_longer_talks() -> None:
    """Tools are kept, and all turns before the last answer are the prompt."""
    tool = {"type": "function", "function": {"name": "add"}}
    raw = {"input": {"messages": [USER], "tools": [tool]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]}
    assert pair_row(raw)["tools"] == [tool]
    talk = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: 2+2=\n\nAssistant:"
    row = pair_row({"chosen": f"{talk} 4", "rejected": f"{talk} 5"})
    assert [m["role"] for m in row["messages"]] == ["user", "assistant", "user"]
    assert (row["chosen"], row["rejected"]) == ("4", "5")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ([1], "not an object"),
        ({"messages": [USER], "chosen": "4"}, "no key 'rejected'"),
        ({"preferred_output": [GOOD], "non_preferred_output": [BAD]}, "no key 'input'"),
        ({"input": {}, "preferred_output": [GOOD], "non_preferred_output": [BAD]}, "no 'messages'"),
        ({"messages": [USER], "chosen": "4", "rejected": "4"}, "the same text"),
        ({"messages": [USER], "chosen": [GOOD, USER, GOOD], "rejected": "4"}, "'chosen' holds 3 messages"),
        ({"messages": [USER], "chosen": [USER], "rejected": "4"}, "'chosen' is a message of the role user"),
        ({"messages": [USER], "chosen": {**GOOD, "tool_calls": [{}]}, "rejected": "4"}, "'chosen' calls tools"),
        ({"messages": [USER], "chosen": {**GOOD, "content": 3}, "rejected": "4"}, "'chosen' has a content"),
        ({"messages": [USER], "chosen": None, "rejected": "4"}, "'chosen' is neither"),
        ({"messages": [USER], "chosen": "", "rejected": "4"}, "'chosen' is empty"),
        ({"messages": [USER], "chosen": [{**GOOD, "content": ""}], "rejected": "4"}, "'chosen' is empty"),
        ({"messages": [USER], "chosen": 3, "rejected": "4"}, "'chosen' is 3, not a text; write it in quotes"),
        ({"messages": [USER], "chosen": "4", "rejected": True}, "'rejected' is true, not a text"),
        ({"messages": [USER, GOOD], "chosen": "4", "rejected": "5"}, "last message has the role assistant"),
        ({"chosen": "4", "rejected": "5"}, "the row has no prompt"),
        ({"chosen": [USER, GOOD], "rejected": [{**USER, "content": "1+1="}, BAD]}, "part before their last"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "hold no prompt"),
    ],
)
def test_what_is_no_pair_is_said_in_one_sentence(raw: Any, sentence: str) -> None:
    """Each way to get a row wrong has its own words."""
    with pytest.raises(DataError, match=sentence):
        pair_row(raw)


def test_a_rejected_completion_may_be_empty() -> None:
    """To say nothing is worse than an answer."""
    assert pair_row({"messages": [USER], "chosen": "4", "rejected": ""})["rejected"] == ""


def source(folder: Path, lines: list[str], **settings: Any) -> PreferencesSource:
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return PreferencesSource(PreferencesConfig(path="pairs.jsonl", **settings), folder)


def test_the_source_keeps_the_contract(tmp_path: Path) -> None:
    """Rows by position, keys by line; blank lines are none; offset and limit count rows."""
    lines = [json.dumps({"prompt": f"{n}+1=", "chosen": str(n + 1), "rejected": str(n)}) for n in range(5)]
    lines.insert(2, "  ")
    check_data_source(lambda: source(tmp_path, lines))
    rows = source(tmp_path, lines, offset=1, limit=3)
    assert [rows.item(i).key for i in range(len(rows))] == ["pairs.jsonl:2", "pairs.jsonl:4", "pairs.jsonl:5"]
    assert rows.item(1).row["chosen"] == "3"
    assert rows.fingerprint() != source(tmp_path, lines).fingerprint()


def test_bad_rows_are_named_or_skipped(tmp_path: Path) -> None:
    """A row that is no pair names file, line and column; skipped ones are counted; with none left that is an error."""
    lines = ['{"prompt": "a", "chosen": "b", "rejected": "c"}', '{"prompt": "a", "chosen": "b"}', "{"]
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: the row has no key 'rejected'"):
        source(tmp_path, lines)
    rows = source(tmp_path, lines, on_bad_row="skip")
    assert (len(rows), len(rows.skipped)) == (1, 2)
    with pytest.raises(DataError, match="no row can be used"):
        source(tmp_path, lines[1:], on_bad_row="skip")
    with pytest.raises(DataError, match="offset 2 passes over all 2 rows"):
        source(tmp_path, lines[1:], offset=2)
    with pytest.raises(DataError, match=r"pairs\.jsonl:1:4: expecting property name"):
        source(tmp_path, ["  {"])
    (tmp_path / "pairs.jsonl.gz").write_bytes(gzip.compress(lines[0].encode()))
    with pytest.raises(DataError, match="the file is compressed; unpack it first"):
        PreferencesSource(PreferencesConfig(path="pairs.jsonl.gz"), tmp_path)


def test_tables_of_the_hub_need_no_source_of_their_own(tmp_path: Path) -> None:
    """A Parquet file as UltraFeedback has it: a prompt as text, and conversations that repeat it."""
    columns = {"prompt": ["2+2="], "chosen": [[USER, GOOD]], "rejected": [[USER, BAD]]}
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    raw = {"type": "parquet", "path": "pairs.parquet", "prompt": "{{item.prompt}}"}
    row = Registry.discover().build("data_source", raw, BuildContext(base_dir=tmp_path)).item(0).row
    assert completion_of(DpoConfig().chosen, row) == "4"
    assert completion_of(DpoConfig().rejected, row) == "5"


def test_a_template_names_a_text_a_message_or_a_part_of_a_text() -> None:
    """One variable may hold messages, several are text."""
    row = {"messages": [USER], "best": [USER, GOOD], "n": 4, "meta": {"worst": BAD}}
    assert completion_of("{{item.best}}", row) == "4"
    assert completion_of("{{item.meta.worst}}", row) == "5"
    assert completion_of("{{item.n}}", row) == "4"
    assert completion_of("it is {{item.n}}", row) == "it is 4"


def test_templates_are_checked_before_anything_runs() -> None:
    """The specs tell the keys that rows must have; a template over the sample is refused."""
    dpo, reward = rft_optimizers()
    assert (dpo.needs, reward.needs) == ("pairs", "pairs")
    assert (dpo.makes_policy, reward.makes_policy) == (True, False)
    assert dpo.variables(DpoConfig()) == ("item.chosen", "item.rejected")
    assert reward.variables(RewardModelConfig(chosen="{{item.a}}", margin="{{item.gap}}")) == (
        "item.a",
        "item.rejected",
        "item.gap",
    )
    for settings in ({"chosen": "{{sample.output_text}}"}, {"rejected": "{{worst}}"}):
        with pytest.raises(ValidationError):
            DpoConfig(**settings)
    with pytest.raises(ValidationError, match="knows the row alone"):
        RewardModelConfig(margin="{{sample.output_text}}")
    with pytest.raises(ValidationError, match="label_smoothing"):
        DpoConfig(loss="ipo", label_smoothing=0.1)


def graded_run(folder: Path) -> None:
    """A run of two steps: four completions of one prompt, three of another and an empty one, two of a third."""
    (folder / "run" / "journal").mkdir(parents=True)
    (folder / "run" / "config.json").write_text("{}")
    visits = {
        0: [("a", 0.5, "stop"), ("b", 1.0, "stop"), ("c", 1.0, "length"), ("b", 1.0, "stop")],
        1: [("d", 0.25, "stop"), ("e", None, "stop"), ("f", 0.0, "stop"), ("", 2.0, "stop")],
        2: [("g", 0.0, "stop"), ("h", 0.0, "stop")],
    }
    for step, ordinals in ((1, (0, 1)), (2, (2,))):
        groups = []
        for ordinal in ordinals:
            rollouts = tuple(
                Rollout(ordinal=ordinal, sample=n, seed=0, segments=(), text=text, finish_reason=finish)  # type: ignore[arg-type]
                for n, (text, _, finish) in enumerate(visits[ordinal])
            )
            row = {"messages": [USER], "answer": ordinal}
            group = Group(ordinal=ordinal, item=Item(key="x", index=0, row=row), rollouts=rollouts)
            grades = tuple(Grade.abstained() if r is None else Grade.score(r) for _, r, _ in visits[ordinal])
            groups.append(GradedGroup(group=group, grades=grades))
        write(folder / "run" / "rollouts" / f"step-{step:06d}.parquet", to_table(step, groups))


def chosen_rows(folder: Path, *keys: str, **settings: Any) -> list[tuple[Any, ...]]:
    rows = RolloutsSource(RolloutsConfig(path="run", **settings), folder)
    return [tuple(rows.item(i).row[key] for key in keys) for i in range(len(rows))]


def test_the_best_completions_of_a_run_are_rows(tmp_path: Path) -> None:
    """One of each visit, or more, none empty, cut off, without a reward or twice; the row's own keys stay."""
    graded_run(tmp_path)
    keys = ("completion", "reward", "answer")
    assert chosen_rows(tmp_path, *keys) == [("b", 1.0, 0), ("d", 0.25, 1), ("g", 0.0, 2)]
    assert chosen_rows(tmp_path, "completion", min_reward=0.2, per_prompt=3) == [("b",), ("a",), ("d",)]
    assert chosen_rows(tmp_path, "completion", first_step=2) == [("g",)]
    assert chosen_rows(tmp_path, "completion", last_step=1, min_reward=0.5) == [("b",)]
    check_data_source(lambda: RolloutsSource(RolloutsConfig(path="run", per_prompt=2), tmp_path))
    with pytest.raises(RunDirError):
        RolloutsSource(RolloutsConfig(path="nowhere"), tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"min_reward": 2.5},
            "of 10, 7 below min_reward, 1 cut off at max_tokens, 1 without a reward, 1 empty; lower min_reward",
        ),
        (
            {"choose": "pairs", "first_step": 2},
            "of 2, 2 are good, but no prompt has two whose rewards differ enough; take",
        ),
        ({"choose": "pairs", "min_margin": 9, "min_reward": 0.1}, "differ enough; lower min_reward and min_margin"),
        ({"first_step": 3}, "it sampled nothing in these steps; let it sample, or name other steps"),
    ],
)
def test_a_run_without_a_rollout_to_learn_from_says_why(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    """What was left out, and the settings that are there to be lowered."""
    graded_run(tmp_path)
    with pytest.raises(DataError, match=f"no rollout of the run .*/run can be learned from: .*{said}"):
        RolloutsSource(RolloutsConfig(path="run", **settings), tmp_path)


def test_the_best_and_the_worst_of_a_run_are_pairs(tmp_path: Path) -> None:
    """Where their rewards differ, and by more than is asked for."""
    graded_run(tmp_path)
    keys = ("chosen", "rejected", "margin")
    assert chosen_rows(tmp_path, *keys, choose="pairs") == [("b", "a", 0.5), ("d", "f", 0.25)]
    assert chosen_rows(tmp_path, *keys, choose="pairs", min_margin=0.25) == [("b", "a", 0.5)]
    assert chosen_rows(tmp_path, *keys, choose="pairs", min_reward=0.9) == [("b", "a", 0.5)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"choose": "pairs", "per_prompt": 3}, "per_prompt is for choose: best, and a prompt gives one pair"),
        ({"min_margin": 0.5}, "min_margin is for choose: pairs"),
    ],
)
def test_settings_of_the_other_choice_are_refused(settings: dict[str, Any], sentence: str) -> None:
    """Rather than ignored."""
    with pytest.raises(ValidationError, match=sentence):
        RolloutsConfig(path="run", **settings)


def test_registering_imports_no_torch() -> None:
    """Listing what there is, and checking settings, stays quick."""
    code = (
        "import sys, rft_preference as p\n"
        "list(p.rft_data_sources()), list(p.rft_graders()), [s.config() for s in p.rft_optimizers()]\n"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
