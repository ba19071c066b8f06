"""The policy that KL is measured against: the trained model as it was at the start, or another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from rft_core.errors import ConfigError
from rft_core.specs import BuildContext
from rft_torch.batching import TokenRow
from rft_torch.frozen import FrozenModel
from rft_torch.long_rows import context_of
from rft_torch.models import load_tokenizer
from rft_torch.trainer import Trainer


class InitialPolicy:
    """The trainer's own model before its first update; under LoRA no second copy of it."""

    name = "policy"

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.context = context_of(trainer.model)

    def logprobs(self, rows: Sequence[TokenRow], temperature: float) -> Tensor:
        """logprobs_N, without gradient."""
        with self._trainer.reference():
            return self._trainer.logprobs(rows, temperature)[1]


class OtherModel:
    """A model of its own, such as a teacher; its tokenizer must be the policy's."""

    def __init__(self, path: str, context: BuildContext, trainer: Trainer) -> None:
        folder = (context.base_dir / Path(path).expanduser()).resolve()
        if (folder / "final").is_dir():  # of a run
            folder = folder / "final"
        assert context.model is not None
        self.name = str(folder)
        self._model = FrozenModel(replace(context.model, path=folder, adapter=None))
        theirs, ours = (model.config.get_text_config().vocab_size for model in (self._model.model, trainer.model))
        if theirs != ours:
            raise ConfigError(
                f"the reference {folder} has a vocabulary of {theirs} tokens and the policy one of {ours}, so their "
                "log-probabilities are not of the same tokens; take a model with the policy's tokenizer",
                where="optimizer.kl.reference",
            )
        _check_tokenizer(folder, context.model.path)
        self.context = context_of(self._model.model)

    def logprobs(self, rows: Sequence[TokenRow], temperature: float) -> Tensor:
        """logprobs_N, without gradient."""
        return self._model.logprobs(rows, temperature)


def _check_tokenizer(theirs: Path, ours: Path) -> None:
    """ConfigError if both folders have a tokenizer, and a number stands for another token in the one than in the other."""
    if not all((folder / "tokenizer.json").is_file() for folder in (theirs, ours)):
        return
    tokens = [{n: token for token, n in load_tokenizer(folder).get_vocab().items()} for folder in (theirs, ours)]
    for number in sorted(tokens[0].keys() | tokens[1].keys()):
        their, our = (repr(found[number]) if number in found else "none" for found in tokens)
        if their != our:
            raise ConfigError(
                f"token {number} is {their} for the reference {theirs} and {our} for the policy, so their "
                "log-probabilities are not of the same tokens; take a model with the policy's tokenizer",
                where="optimizer.kl.reference",
            )


Reference = InitialPolicy | OtherModel
