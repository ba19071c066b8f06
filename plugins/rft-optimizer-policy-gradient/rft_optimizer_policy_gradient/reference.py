"""The policy that KL is measured against: the trained model as it was at the start, or another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from rft_core.errors import ConfigError, ModelError
from rft_core.model_folders import find_language_model
from rft_core.specs import BuildContext
from rft_optimizer_policy_gradient.checks import WHERE
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
    """A model of its own, such as a teacher: a folder, or the result of a run; its tokenizer must be the policy's."""

    def __init__(self, path: str, context: BuildContext, trainer: Trainer) -> None:
        try:
            base, adapter = find_language_model(context.base_dir / Path(path).expanduser())
        except ModelError as error:
            raise ModelError(f"{WHERE}: {error}") from None
        assert context.model is not None
        self.name = str(adapter or base)
        self._model = FrozenModel(replace(context.model, path=base, adapter=adapter))
        theirs, ours = (model.config.get_text_config().vocab_size for model in (self._model.model, trainer.model))
        if theirs != ours:
            raise ConfigError(
                f"the reference {self.name} has a vocabulary of {theirs} tokens and the policy one of {ours}, so their "
                "log-probabilities are not of the same tokens; take a model with the policy's tokenizer",
                where=WHERE,
            )
        _check_tokenizer(base, context.model.path)
        self.context = context_of(self._model.model)

    def logprobs(self, rows: Sequence[TokenRow], temperature: float) -> Tensor:
        """logprobs_N, without gradient."""
        return self._model.logprobs(rows, temperature)


def _check_tokenizer(theirs: Path, ours: Path) -> None:
    """ConfigError if both folders have a tokenizer, and a number stands for another token in the one than in the other,
    or for the end of sequence. Special and added tokens may differ, as those of a base model and of a chat model do: no
    plain text is written with them. So may what the one has beyond the other's size."""
    if not all((folder / "tokenizer.json").is_file() for folder in (theirs, ours)):
        return
    both = [load_tokenizer(folder) for folder in (theirs, ours)]
    special = {number for one in both for number in (*one.all_special_ids, *one.added_tokens_decoder)}
    tokens = [{number: token for token, number in one.get_vocab().items()} for one in both]
    shared = sorted(set(range(min(map(len, both)))) - special)
    if (number := next((n for n in shared if tokens[0].get(n) != tokens[1].get(n)), None)) is not None:
        their, our = (repr(found[number]) if number in found else "none" for found in tokens)
        what = f"token {number} is {their} for the reference {theirs} and {our} for the policy"
    elif both[0].eos_token_id != both[1].eos_token_id:
        their, our = (f"token {one.eos_token_id}, {one.eos_token!r}," for one in both)
        what = f"the end of sequence is {their} for the reference {theirs} and {our} for the policy"
    else:
        return
    raise ConfigError(
        f"{what}, so their log-probabilities are not of the same tokens; take a model with the policy's tokenizer",
        where=WHERE,
    )


Reference = InitialPolicy | OtherModel
