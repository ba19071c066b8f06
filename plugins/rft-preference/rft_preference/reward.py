"""The optimizer `reward_model`: a Bradley–Terry model of preferences, arXiv 2203.02155 eq. 1.

    P(chosen is preferred) = σ(r(chosen) − r(rejected)),    r(y) = w · h_last(x · y · end of sequence)

with h_last the hidden state behind the last norm at the end of sequence, and w a linear head that starts at 0
where the model has none. `policy/` is a plain folder of transformers' AutoModelForSequenceClassification with
one label, or under LoRA an adapter that holds the head whole; transformers reads a reward at the last token
that is not the pad, so the same one where pad and end of sequence are two tokens.

Legend: P pairs, R rows (two of each pair).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rft_core.specs import BuildContext
from rft_preference.config import RewardModelConfig
from rft_preference.learner import Measures, PairLearner
from rft_preference.losses import bradley_terry
from rft_preference.pairs import Pair
from rft_preference.tokens import scored_row
from rft_torch.batching import TokenRow
from rft_torch.scalar import load_scalar_model


class RewardModel(PairLearner):
    """See the module. `accuracy` is the share of pairs whose chosen reward is the larger, `margin` the mean
    difference, `mean_reward` the mean over both completions."""

    def __init__(self, config: RewardModelConfig, context: BuildContext) -> None:
        super().__init__(config, context, margin=config.margin, load=load_scalar_model)
        self._config = config
        self._let_transformers_pool()

    def _let_transformers_pool(self) -> None:
        """transformers takes the last token that is not the pad for the end: where the end of sequence pads, let it
        know no pad, so that it refuses a padded batch rather than read a reward one token early."""
        tokenizer = self._tokenizer
        settings = self._trainer.model.config.get_text_config()
        if settings.pad_token_id in (None, tokenizer.eos_token_id):
            distinct = tokenizer.pad_token_id != tokenizer.eos_token_id
            settings.pad_token_id = tokenizer.pad_token_id if distinct else None

    def rows(self, pair: Pair) -> tuple[TokenRow, TokenRow]:
        share = self._trainer.share_prompts
        return (
            scored_row(pair.prompt, pair.chosen, share_prompt=share),
            scored_row(pair.prompt, pair.rejected, share_prompt=share),
        )

    def losses(self, pairs: Sequence[Pair]) -> tuple[Tensor, Measures]:
        _, values_R = self._trainer.values([row for pair in pairs for row in self.rows(pair)])
        chosen_P, rejected_P = values_R[0::2], values_R[1::2]
        margin_P = values_R.new_tensor([pair.margin for pair in pairs])
        loss_P = bradley_terry(chosen_P, rejected_P, margin_P, center=self._config.center_rewards)
        difference_P = (chosen_P - rejected_P).detach()
        return loss_P, {
            "accuracy": (difference_P > 0).to(loss_P.dtype),
            "margin": difference_P,
            "mean_reward": (chosen_P + rejected_P).detach() / 2,
        }
