"""Preference pairs as people keep them: the data source `preferences`, and what counts as a completion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rft_core.contract import check_data_source
from rft_core.errors import DataError
from rft_preference import rft_optimizers
from rft_preference.completions import completion_of
from rft_preference.config import DpoConfig, PreferencesConfig, RewardModelConfig
from rft_preference.layouts import pair_row
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
    """A row that is no pair names file and line; skipped ones are counted; with none left that is an error."""
    lines = ['{"prompt": "a", "chosen": "b", "rejected": "c"}', '{"prompt": "a", "chosen": "b"}', "{"]
    with pytest.raises(DataError, match=r"pairs\.jsonl:2: the row has no key 'rejected'"):
        source(tmp_path, lines)
    rows = source(tmp_path, lines, on_bad_row="skip")
    assert (len(rows), len(rows.skipped)) == (1, 2)
    with pytest.raises(DataError, match="no row can be used"):
        source(tmp_path, lines[1:], on_bad_row="skip")
    with pytest.raises(DataError, match="no file"):
        PreferencesSource(PreferencesConfig(path="missing.jsonl"), tmp_path)
    with pytest.raises(DataError, match="a folder"):
        PreferencesSource(PreferencesConfig(path="."), tmp_path)


def test_a_file_that_changes_in_use_is_noticed(tmp_path: Path) -> None:
    """A row whose bytes are not those of the start is an error, never other data."""
    rows = source(tmp_path, ['{"prompt": "a", "chosen": "b", "rejected": "c"}'])
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"b"', b'"d"'))
    with pytest.raises(DataError, match="changed while it was in use"):
        rows.item(0)


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
