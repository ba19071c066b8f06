"""What `init_from` may name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tiny_models import make_model

from rft_core.errors import ModelError
from rft_core.runs.starting_model import start_model, start_weights
from rft_core.types import ModelRef
from rft_core.weights import digest_of


def test_a_damaged_checkpoint_is_no_start(tmp_path: Path) -> None:
    """Weights that are not what the checkpoint's manifest says; what is damaged beside them does not matter here."""
    step = tmp_path / "step-000002"
    policy = step / "optimizer" / "policy"
    policy.mkdir(parents=True)
    (policy / "model.safetensors").write_bytes(b"weights")
    digests = {"optimizer/policy/model.safetensors": hashlib.sha256(b"weights").hexdigest(), "optimizer/adamw": "gone"}
    (step / "manifest.json").write_text(json.dumps({"files": digests}))
    base = ModelRef(path=tmp_path)
    assert start_model(str(step), tmp_path, base).path == policy
    (policy / "model.safetensors").write_bytes(b"weighty")
    assert start_weights(str(step), tmp_path) == policy  # before the start it is only looked for
    for place in (step, policy):
        with pytest.raises(
            ModelError, match=r"init_from: the checkpoint .*step-000002 is damaged: .* not what was written"
        ):
            start_model(str(place), tmp_path, base)


def test_a_result_that_was_changed_is_no_start(tmp_path: Path) -> None:
    """The summary of the run says which weights it ended with."""
    final = make_model(tmp_path / "run" / "final")
    summary = {"final_weights_sha256": digest_of(final).removeprefix("sha256:")}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    base = ModelRef(path=make_model(tmp_path / "base"))
    assert start_model("run", tmp_path, base).path == final
    weights = bytearray((final / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (final / "model.safetensors").write_bytes(weights)
    for place in ("run", "run/final"):
        with pytest.raises(ModelError, match="final are not those that the run ended with; restore them from a backup"):
            start_model(place, tmp_path, base)


def test_another_model_is_no_start(tmp_path: Path) -> None:
    """Of another shape, or whose numbers stand for other tokens; other weights, and tokens that were added, are none."""
    base = ModelRef(path=make_model(tmp_path / "base"))
    make_model(tmp_path / "trained", seed=7)
    added = tmp_path / "trained" / "tokenizer.json"
    tokenizer = json.loads(added.read_text())
    added.write_text(
        json.dumps({**tokenizer, "added_tokens": [*tokenizer["added_tokens"], {"id": 99, "content": "<x>"}]})
    )
    assert start_model("trained", tmp_path, base).path == tmp_path / "trained"
    make_model(tmp_path / "wide", hidden=64)
    with pytest.raises(
        ModelError, match=r"another model than 'model' describes \(hidden_size: 64 and not 32\); give both"
    ):
        start_model("wide", tmp_path, base)
    tokenizer["model"]["vocab"] |= {"1": tokenizer["model"]["vocab"]["2"], "2": tokenizer["model"]["vocab"]["1"]}
    added.write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match=r"trained holds another model .* \(its tokenizer has other tokens\)"):
        start_model("trained", tmp_path, base)


def test_an_adapter_over_another_model_is_no_start(tmp_path: Path) -> None:
    """It says which one it was trained over; if that is not here, nobody can tell."""
    base = ModelRef(path=make_model(tmp_path / "base"))
    make_model(tmp_path / "wide", hidden=64)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").touch()
    for trained_over in (str(base.path), "/gone"):
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": trained_over}))
        assert start_model("adapter", tmp_path, base).adapter == adapter
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "wide")}))
    with pytest.raises(ModelError, match=r"adapter holds another model .* \(hidden_size: 64 and not 32\)"):
        start_model("adapter", tmp_path, base)
