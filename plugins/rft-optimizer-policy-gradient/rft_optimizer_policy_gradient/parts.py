"""The parts that a config names, ready to be called."""

from __future__ import annotations

from dataclasses import dataclass

from rft_core.specs import BuildContext, Part
from rft_optimizer_policy_gradient.config import PolicyGradientConfig, parts_of


@dataclass(frozen=True, slots=True)
class Parts:
    """Each is called with what stands here; its settings come last, from the run file."""

    advantage: Part
    """(groups of Scored) → an Advantage for each."""
    ratio: Part
    """(log π/π_old per token, Rows) → the same, per token or per rollout."""
    objective: Part
    """(Tokens) → Surrogate."""
    aggregation: Part
    """(token counts per group, sampling.max_tokens) → the weight of each rollout's tokens."""
    kl: Part
    """(log-probabilities of the policy, of the reference) → an estimate per token."""
    correction: Part | None
    """(log π_old/π_behaviour per token, Rows) → a weight per token."""

    @classmethod
    def of(cls, config: PolicyGradientConfig, context: BuildContext) -> Parts:
        """Found in the registry of the process that builds the optimizer."""
        if context.part is None:
            raise ValueError("policy_gradient finds its parts in the registry; build it with Registry.build")
        found = {role: context.part(role, raw) for role, raw in parts_of(config).values()}
        correction = found.pop("correction", None)
        return cls(correction=correction, **found)
