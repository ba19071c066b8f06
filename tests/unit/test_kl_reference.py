"""Another model as the reference of KL: an adapter, and tokenizers that are as good as equal."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import make_model, policy_gradient

from rft_core.errors import ConfigError, ModelError
from rft_torch.batching import token_row
from rft_torch.lora import adapter_off


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def test_an_adapter_is_a_reference_over_its_base(folder: Path, tmp_path: Path) -> None:
    """In a run's final/ or by itself: what it computes is the base with the adapter, even under another policy."""
    trained = policy_gradient(folder, lora={"rank": 4})
    with torch.no_grad():
        for name, parameter in trained._trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    trained.save(tmp_path / "saved")
    shutil.copytree(tmp_path / "saved" / "policy", tmp_path / "run" / "final")
    policy = make_model(tmp_path / "policy", seed=7)
    rows = [token_row((5, 6, 7, 8), (2, 3), share_prompt=False)]
    wanted = trained._trainer.logprobs(rows, 1.0)[1]
    with adapter_off(trained._trainer.model):
        assert not torch.allclose(wanted, trained._trainer.logprobs(rows, 1.0)[1], atol=1e-2)
    for place in ("run", "run/final"):
        reference = policy_gradient(policy, kl={"reference": str(tmp_path / place), "weight": 0.1})._reference
        torch.testing.assert_close(reference.logprobs(rows, 1.0), wanted)
    config = tmp_path / "run" / "final" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": "/gone"}))
    with pytest.raises(
        ModelError, match=r"^optimizer\.kl\.reference: .*/final is an adapter over /gone, which is no fo"
    ):
        policy_gradient(policy, kl={"reference": str(tmp_path / "run"), "weight": 0.1})


def other_pad(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text((folder / name).read_text().replace("<pad>", "<fill>"))


def other_end(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token": "<pad>"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_pad, None),
        (other_end, "the end of sequence is token 0, '<pad>', for the reference .* and token 1, '<eos>',"),
    ],
)
def test_special_tokens_may_differ_but_the_end(
    folder: Path, tmp_path: Path, change: Callable[[Path], None], said: str | None
) -> None:
    """A chat model has other ones than the base model that it was made of, and writes the same text in the same tokens."""
    teacher = tmp_path / "teacher"
    shutil.copytree(folder, teacher)
    change(teacher)
    settings = {"reference": str(teacher), "weight": 0.1}
    if said is None:
        policy_gradient(folder, kl=settings)
        return
    with pytest.raises(ConfigError, match=rf"^optimizer\.kl\.reference: {said}"):
        policy_gradient(folder, kl=settings)
