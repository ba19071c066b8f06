"""The optimizer `dpo`: direct preference optimisation, arXiv 2305.18290.

    r(y) = β · (log π(y | x) − log π_ref(y | x))      the reward that the policy implies, up to a constant of x
    loss = mean over pairs of −log σ(r(chosen) − r(rejected))

and the variants of `losses.dpo_loss`. π_ref is the policy that the stage began with; with LoRA that is the
base under the adapter as it was. Its log-probabilities of a row are computed once, without dropout, kept, and saved with
checkpoints: computed again in other company they could differ in the last bit.

Legend: P pairs, R rows (two of each pair), N completion tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from rft_core.errors import IntegrityError
from rft_core.specs import BuildContext
from rft_preference.config import DpoConfig
from rft_preference.learner import Measures, PairLearner
from rft_preference.losses import dpo_loss
from rft_preference.pairs import Pair
from rft_preference.tokens import policy_row
from rft_torch.batching import TokenRow
from rft_torch.memory import enough_memory
from rft_torch.trainer import TO_FIT

REFERENCE_FILE = "reference.json"
MOST_KEPT = 1 << 20
"""Pairs whose reference log-probabilities are kept, some 200 MB; of more, the latest."""


class Dpo(PairLearner):
    """See the module. Metrics have TRL's names: `rewards/…` are r above, `logps/…` sums over a completion. A pair
    counts for `rewards/accuracies` if its chosen reward is the larger; before the first update all are equal."""

    def __init__(self, config: DpoConfig, context: BuildContext) -> None:
        super().__init__(config, context, keep_reference=True)
        self._config = config
        self._trained: dict[str, tuple[float, float]] = {}
        """Reference log-probabilities by row key: chosen, rejected."""
        self._held_out: dict[str, tuple[float, float]] = {}
        self._reference = self._trained

    def rows(self, pair: Pair) -> tuple[TokenRow, TokenRow]:
        share = self._trainer.share_prompts
        return (
            policy_row(pair.prompt, pair.chosen, share_prompt=share),
            policy_row(pair.prompt, pair.rejected, share_prompt=share),
        )

    def prepare(self, pairs: Sequence[Pair], *, training: bool) -> None:
        """Make sure that the reference's log-probabilities are known. Keys are unique in their source only, so
        training and held-out rows are kept apart."""
        self._reference = kept = self._trained if training else self._held_out
        missing = list({pair.key: pair for pair in pairs if pair.key not in kept}.values())
        with self._trainer.reference(), self._trainer.autocast(), enough_memory("the reference", TO_FIT):
            for indices in self._plan(missing):
                chosen_P, rejected_P = self._logps([missing[i] for i in indices])
                both = zip(chosen_P.tolist(), rejected_P.tolist(), strict=True)
                kept.update(zip((missing[i].key for i in indices), both, strict=True))
        needed = {pair.key for pair in pairs}
        for key in [key for key in kept if key not in needed][: max(0, len(kept) - MOST_KEPT)]:
            del kept[key]

    def losses(self, pairs: Sequence[Pair]) -> tuple[Tensor, Measures]:
        config = self._config
        chosen_P, rejected_P = self._logps(pairs)
        reference_P2 = chosen_P.new_tensor([self._reference[pair.key] for pair in pairs])
        won_P, lost_P = chosen_P - reference_P2[:, 0], rejected_P - reference_P2[:, 1]
        ratio_P = won_P - lost_P
        if config.loss == "ipo":
            tokens_P2 = chosen_P.new_tensor([[len(pair.chosen), len(pair.rejected)] for pair in pairs])
            ratio_P = won_P / tokens_P2[:, 0] - lost_P / tokens_P2[:, 1]
        loss_P = dpo_loss(ratio_P, beta=config.beta, kind=config.loss, label_smoothing=config.label_smoothing)
        won_P, lost_P = config.beta * won_P.detach(), config.beta * lost_P.detach()
        return loss_P, {
            "rewards/chosen": won_P,
            "rewards/rejected": lost_P,
            "rewards/accuracies": (won_P > lost_P).to(won_P.dtype),
            "rewards/margins": won_P - lost_P,
            "logps/chosen": chosen_P,
            "logps/rejected": rejected_P,
        }

    def _logps(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        """log π(y | x) of the chosen and the rejected completions, as sums over their tokens."""
        rows = [row for pair in pairs for row in self.rows(pair)]
        batch, logprobs_N, *_ = self._trainer.logprobs(rows, 1.0)
        sums_R = logprobs_N.new_zeros(len(rows)).index_add(0, batch.row_N, logprobs_N)
        return sums_R[0::2], sums_R[1::2]

    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / REFERENCE_FILE).write_text(json.dumps(self._trained) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        super().load(folder)
        file = folder / REFERENCE_FILE
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            self._trained = {str(key): (float(chosen), float(rejected)) for key, (chosen, rejected) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{file} cannot be read ({error}); resume from another checkpoint") from error
        self._held_out = {}
