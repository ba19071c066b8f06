"""The policy that KL is measured against: the trained model as it was at the start, or another one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from rft_core.errors import ConfigError
from rft_core.specs import BuildContext
from rft_core.weights import ADAPTER_FILE
from rft_torch.batching import TokenRow
from rft_torch.frozen import FrozenModel
from rft_torch.long_rows import context_of
from rft_torch.models import load_tokenizer
from rft_torch.trainer import Trainer

WHERE = "optimizer.kl.reference"


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
        folder = (context.base_dir / Path(path).expanduser()).resolve()
        if (folder / "final").is_dir():  # of a run
            folder = folder / "final"
        assert context.model is not None
        self.name = str(folder)
        base, adapter = (_base_of(folder), folder) if (folder / ADAPTER_FILE).is_file() else (folder, None)
        self._model = FrozenModel(replace(context.model, path=base, adapter=adapter))
        theirs, ours = (model.config.get_text_config().vocab_size for model in (self._model.model, trainer.model))
        if theirs != ours:
            raise ConfigError(
                f"the reference {folder} has a vocabulary of {theirs} tokens and the policy one of {ours}, so their "
                "log-probabilities are not of the same tokens; take a model with the policy's tokenizer",
                where=WHERE,
            )
        _check_tokenizer(base, context.model.path)
        self.context = context_of(self._model.model)

    def logprobs(self, rows: Sequence[TokenRow], temperature: float) -> Tensor:
        """logprobs_N, without gradient."""
        return self._model.logprobs(rows, temperature)


def _base_of(adapter: Path) -> Path:
    """The model that the run trained an adapter over. ConfigError if it is not here."""
    try:
        settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        base = Path(settings["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if base is None or not base.is_dir():
        raise ConfigError(
            f"the reference {adapter} is an adapter over {base or 'a model that it does not name'}, which is no folder here; "
            "bring its base there, or merge the two with `rft-engine export --merge` and name what that wrote",
            where=WHERE,
        )
    return base


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
