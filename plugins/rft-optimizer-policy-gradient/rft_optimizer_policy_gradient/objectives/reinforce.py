"""The plain policy gradient: REINFORCE, Williams 1992.

    J = A · log π(y_t)

Right for rollouts of the policy itself. With several updates per batch, or rollouts of an older policy, it
follows the gradient of a policy that is no more: take a `correction`, or another objective.
"""

from __future__ import annotations

from rft_core.specs import NoSettings
from rft_optimizer_policy_gradient.tokens import Surrogate, Tokens


def reinforce(tokens: Tokens, settings: NoSettings) -> Surrogate:
    """J_N with gradient."""
    return Surrogate(tokens.advantages_N * tokens.logprobs_N)
