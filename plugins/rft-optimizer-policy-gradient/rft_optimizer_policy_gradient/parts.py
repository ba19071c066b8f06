"""The parts that a config names, ready to be called. Each may be of another plugin, so what it answers is checked, and
BadReplyError names the part. Legend: N trained tokens of a micro-batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rft_core.errors import BadReplyError
from rft_core.specs import BuildContext, Part
from rft_optimizer_policy_gradient.aggregation import Counts, Weights
from rft_optimizer_policy_gradient.config import PolicyGradientConfig, parts_of
from rft_optimizer_policy_gradient.tokens import Rows, Surrogate, Tokens

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Parts:
    """Each is called with its settings, which come last, from the run file."""

    advantage: Part
    """(groups of Scored) → an Advantage for each; `judging` checks it."""
    _ratio: Part
    _objective: Part
    _aggregation: Part
    _kl: Part
    _correction: Part | None

    @classmethod
    def of(cls, config: PolicyGradientConfig, context: BuildContext) -> Parts:
        """Found in the registry of the process that builds the optimizer."""
        if context.part is None:
            raise ValueError("policy_gradient finds its parts in the registry; build it with Registry.build")
        by_role = {role: context.part(role, raw) for role, raw in parts_of(config).values()}
        return cls(
            advantage=by_role["advantage"],
            _ratio=by_role["ratio"],
            _objective=by_role["objective"],
            _aggregation=by_role["aggregation"],
            _kl=by_role["kl"],
            _correction=by_role.get("correction"),
        )

    def ratio(self, log_ratio_N: Tensor, rows: Rows) -> Tensor:
        """log π/π_old, per token or per rollout, for every token."""
        return _per_token("ratio", self._ratio, self._ratio(log_ratio_N, rows), log_ratio_N)

    def objective(self, tokens: Tokens) -> Surrogate:
        """J of every token, and which tokens are clipped."""
        answer = self._objective(tokens)
        if not isinstance(answer, Surrogate):
            raise BadReplyError(
                f"the objective '{self._objective.name}' answered a {type(answer).__name__}; it must answer a Surrogate"
            )
        for values in (answer.value_N, answer.low_N, answer.high_N):
            if values is not None:
                _per_token("objective", self._objective, values, tokens.logprobs_N)
        return answer

    def aggregation(self, counts: Counts, max_tokens: int) -> Weights:
        """The weight of the tokens of each rollout."""
        part = self._aggregation
        weights: Weights = part(counts, max_tokens)
        if sizes_of(weights) != [len(group) for group in counts]:
            raise BadReplyError(
                f"the aggregation '{part.name}' answered another number of weights than rollouts, or no lists of them"
            )
        if wrong := next((w for group in weights for w in group if not (math.isfinite(w) and w >= 0)), None):
            raise BadReplyError(
                f"the aggregation '{part.name}' gives a rollout the weight {wrong}; weights must be 0 or more, and finite"
            )
        return weights

    def kl(self, logprobs_N: Tensor, reference_N: Tensor) -> Tensor:
        """An estimate of KL at every token."""
        return _per_token("kl", self._kl, self._kl(logprobs_N, reference_N), logprobs_N)

    def correction(self, log_ratio_N: Tensor, rows: Rows) -> Tensor | None:
        """What π_old / π_behaviour weighs at every token; None without a correction."""
        if self._correction is None:
            return None
        return _per_token("correction", self._correction, self._correction(log_ratio_N, rows), log_ratio_N)


def sizes_of(answer: Any) -> list[int] | None:
    """How many there are for each group; None for what is no list of lists."""
    try:
        return [len(row) for row in answer]
    except TypeError:
        return None


def _per_token(role: str, part: Part, answer: Any, like_N: Tensor) -> Tensor:
    import torch

    if isinstance(answer, torch.Tensor) and answer.shape == like_N.shape:
        return answer
    what = f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, torch.Tensor) else type(answer).__name__
    raise BadReplyError(
        f"the {role} '{part.name}' answered {what}; it must answer a number for each of {len(like_N)} tokens"
    )
