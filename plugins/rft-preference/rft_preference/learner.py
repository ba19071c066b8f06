"""What optimizers that learn from pairs do the same way: encode, plan, add up gradients, measure.

    loss of a step = mean over its pairs of the loss of a pair

Legend: P pairs of a micro-batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rft_core.specs import BuildContext
from rft_core.types import Item, Needs, TrainBatch, TrainReport
from rft_preference.config import PairsConfig
from rft_preference.pairs import Pair, PairEncoder, plan_pairs
from rft_preference.tokens import Encoder
from rft_torch.batching import TokenRow
from rft_torch.encoded import EncodedRows
from rft_torch.long_rows import alarms_of, context_of
from rft_torch.memory import enough_memory
from rft_torch.models import load_tokenizer
from rft_torch.trained import Trained
from rft_torch.trainer import TO_FIT

Measures = dict[str, Tensor]
"""By metric, a number of each pair."""


class PairLearner(Trained, ABC):
    """See the module. A subclass says which rows a pair is and what its loss is."""

    needs: Needs = "pairs"

    def __init__(
        self, config: PairsConfig, context: BuildContext, *, margin: str | None = None, **trainer: Any
    ) -> None:
        super().__init__(config, context, **trainer)
        self._budget = config.micro_batch_tokens
        self._packing = config.packing
        self._tokenizer = load_tokenizer(self._trainer.base)
        self._context = context_of(self._trainer.model)
        encoder = PairEncoder(Encoder(self._tokenizer), config, margin=margin, max_tokens=self._context)
        self._train_pairs, self._held_out_pairs = EncodedRows(encoder.encode), EncodedRows(encoder.encode)
        self._train_pairs.look_at(context.train, self._context)

    @abstractmethod
    def rows(self, pair: Pair) -> tuple[TokenRow, TokenRow]:
        """The token rows of a pair: chosen, rejected."""

    @abstractmethod
    def losses(self, pairs: Sequence[Pair]) -> tuple[Tensor, Measures]:
        """loss_P with gradient, and what else is measured of each pair."""

    def prepare(self, pairs: Sequence[Pair], *, training: bool) -> None:
        """Called with all pairs of a step, or of a validation, before the first loss."""

    def step(self, batch: TrainBatch) -> TrainReport:
        """One update from pairs. Raises NumericsError, before the weights change, if a loss or gradient
        is not finite, and names the rows; DataError, with a row's key, for one that is no pair."""
        trainer = self._trainer
        pairs = [pair for pair in self._train_pairs.of(batch.items) if pair is not None]
        lr = trainer.learning_rate(batch.total_steps)
        metrics = {"learning_rate": lr, "loss": 0.0, "grad_norm": 0.0}
        if pairs:
            self.prepare(pairs, training=True)
            with trainer.computing():
                losses, measured = self.accumulate(pairs)
                metrics["grad_norm"] = trainer.update(losses, lr)
            metrics |= measured
        trainer.policy += 1
        tokens = sum(pair.completion_tokens for pair in pairs)
        return TrainReport(
            metrics=metrics,
            trained_tokens=tokens,
            policy=trainer.policy,
            dropped={"too_long": len(batch.items) - len(pairs)} if len(pairs) < len(batch.items) else {},
            alarms=alarms_of(len(batch.items), len(pairs), self._context),
        )

    def accumulate(self, pairs: Sequence[Pair]) -> tuple[list[tuple[Tensor, Sequence[str]]], dict[str, float]]:
        """Add the gradient of the mean loss to the parameters'. Returns each micro-batch's summed loss with the
        names of its pairs, and the means of what was measured."""
        losses: list[tuple[Tensor, Sequence[str]]] = []
        found: list[Measures] = []
        for indices in self._plan(pairs):
            chosen = [pairs[i] for i in indices]
            loss_P, measures = self.losses(chosen)
            (loss_P.sum() / len(pairs)).backward()  # type: ignore[no-untyped-call]
            losses.append((loss_P.detach().sum(), [pair.name for pair in chosen]))
            found.append({"loss": loss_P.detach(), **measures})
        return losses, _means(found)

    def validate(self, items: Sequence[Item]) -> Mapping[str, float]:
        """The loss and what else is measured of held-out pairs, as means; {} for no items, or none that is
        short enough."""
        pairs = [pair for pair in self._held_out_pairs.of(items) if pair is not None]
        if not pairs:
            return {}
        self.prepare(pairs, training=False)
        found: list[Measures] = []
        with torch.no_grad(), self._trainer.autocast(), enough_memory("validation", TO_FIT):
            for indices in self._plan(pairs):
                loss_P, measures = self.losses([pairs[i] for i in indices])
                found.append({"loss": loss_P, **measures})
        return _means(found)

    def _plan(self, pairs: Sequence[Pair]) -> list[list[int]]:
        return plan_pairs([self.rows(pair) for pair in pairs], self._budget, packing=self._packing)


def _means(found: Sequence[Measures]) -> dict[str, float]:
    """The mean of each measure over all pairs, summed in float64."""
    values: dict[str, list[Tensor]] = defaultdict(list)
    for measures in found:
        for name, value_P in measures.items():
            values[name].append(value_P.detach())
    return {name: float(torch.cat(parts).double().mean()) for name, parts in values.items()}
