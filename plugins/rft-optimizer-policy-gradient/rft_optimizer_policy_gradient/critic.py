"""The critic of PPO: what reward is still to come, before each token.

    loss = mean over tokens of ½ · max((V − R)², (V_old + clip(V − V_old, ±value_clip) − R)²)
    R_t = A_t + V_old,t                 the λ-returns; A_t from `gae` with the critic's own `lam`

arXiv 1707.06347, section 5, with the clipped form of arXiv 2005.12729; λ = 1 for the critic's returns,
arXiv 2503.01491 (VC-PPO). The critic is a copy of the starting model with a scalar head that starts at 0, and
trains in every step, also where the policy has nothing to learn.

Legend: N trained tokens of a micro-batch, T of a rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from rft_core.errors import NumericsError
from rft_core.specs import BuildContext
from rft_optimizer_policy_gradient.advantages.gae import gae_of
from rft_optimizer_policy_gradient.config import CriticSettings
from rft_optimizer_policy_gradient.samples import Traced
from rft_optimizer_policy_gradient.scored import Values
from rft_torch.batching import TokenRow
from rft_torch.scalar import load_scalar_model
from rft_torch.trainer import Trainer

FOLDER = "critic"
"""In a checkpoint, beside the policy's."""


class Critic:
    """Holds the value model and its AdamW."""

    def __init__(self, settings: CriticSettings, context: BuildContext) -> None:
        model = context.model and replace(context.model, adapter=None)
        self._settings = settings
        self._trainer = Trainer(
            settings, replace(context, model=model), load=load_scalar_model, where="optimizer.critic"
        )

    def plan(self, rows: Sequence[TokenRow]) -> list[list[int]]:
        """Which rows are computed together."""
        return self._trainer.plan(rows)

    def values(self, rows: Sequence[TokenRow]) -> Tensor:
        """values_N before each wanted token."""
        with self._trainer.autocast():
            return self._trainer.values(rows)[1]

    def update(self, traced: Sequence[Traced], returns: Sequence[Values], total_steps: int) -> tuple[float, float]:
        """One AdamW step towards the returns: the loss and the norm of its gradient before clipping."""
        rows = [t.row for t in traced]
        tokens = sum(len(row.wanted) for row in rows)
        lr = self._trainer.learning_rate(total_steps)
        losses: list[tuple[Tensor, Sequence[str]]] = []
        with self._trainer.computing():
            for indices in self.plan(rows):
                loss = self._loss([traced[i] for i in indices], [returns[i] for i in indices]) / tokens
                loss.backward()  # type: ignore[no-untyped-call]
                losses.append((loss, [traced[i].name for i in indices]))
            try:
                norm = self._trainer.update(losses, lr)
            except NumericsError as error:
                raise NumericsError(f"the critic has diverged: {error}") from None
        total = torch.stack([loss.detach() for loss, _ in losses]).sum(dtype=torch.float64).item()
        return total, norm

    def _loss(self, traced: Sequence[Traced], returns: Sequence[Values]) -> Tensor:
        """Summed over the tokens of a micro-batch."""
        _, values_N = self._trainer.values([t.row for t in traced])
        old_N = values_N.new_tensor([v for t in traced for v in t.values_T])
        returns_N = values_N.new_tensor([v for row in returns for v in row.tolist()])
        squared_N = (values_N - returns_N).square()
        bound = self._settings.value_clip
        if bound is not None:
            clipped_N = old_N + (values_N - old_N).clamp(-bound, bound)
            squared_N = squared_N.maximum((clipped_N - returns_N).square())
        return squared_N.sum() / 2

    def returns(self, rewards_T: Values, values_T: Values, gamma: float) -> Values:
        """R_t of one rollout."""
        return gae_of(rewards_T, values_T, gamma, self._settings.lam) + values_T

    def step_taken(self) -> None:
        """The version counts along with the policy's: schedules and dropout follow it."""
        self._trainer.policy += 1

    def save(self, folder: Path) -> None:
        self._trainer.save(folder / FOLDER)

    def load(self, folder: Path) -> None:
        self._trainer.load(folder / FOLDER)
