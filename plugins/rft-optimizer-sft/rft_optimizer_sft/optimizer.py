"""The optimizer `sft`: cross-entropy on the completion's tokens.

    loss = −Σ log p(target token | what stands before it) / number of target tokens in the batch

The prompt's tokens are read, not learned. The end of sequence is part of the completion. Every target token of a
batch weighs the same, whatever row or micro-batch it is in.

Legend: N target tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rft_core.specs import BuildContext
from rft_core.types import Item, Needs, TrainBatch, TrainReport
from rft_optimizer_sft.config import SftConfig
from rft_optimizer_sft.rows import RowEncoder
from rft_torch.batching import TokenRow, plan, plan_streams
from rft_torch.encoded import EncodedRows
from rft_torch.logprobs import token_logprobs
from rft_torch.long_rows import alarms_of, context_of
from rft_torch.memory import enough_memory
from rft_torch.models import load_tokenizer
from rft_torch.trained import Trained
from rft_torch.trainer import TO_FIT

MOST_LOGITS = 1 << 28
"""That a validation holds at once, but for a row that has more by itself: 1 GiB of float32."""


class Sft(Trained):
    """See the module."""

    needs: Needs = "labels"

    def __init__(self, config: SftConfig, context: BuildContext) -> None:
        super().__init__(config, context)
        self._config = config
        tokenizer = load_tokenizer(self._trainer.base)
        self._context = context_of(self._trainer.model)
        encoder = RowEncoder(tokenizer, config.target, max_tokens=self._context, drop_long=config.on_long_row == "drop")
        self._train_rows, self._held_out_rows = EncodedRows(encoder.encode), EncodedRows(encoder.encode)
        self._train_rows.look_at(context.train, self._context)

    def step(self, batch: TrainBatch) -> TrainReport:
        """One update from labelled items. Raises NumericsError, before the weights change, if a
        loss or gradient is not finite, and names the rows."""
        trainer = self._trainer
        encoded = self._train_rows.of(batch.items)
        rows = [row for row in encoded if row is not None]
        tokens = sum(len(row.wanted) for row in rows)
        lr = trainer.learning_rate(batch.total_steps)
        metrics = {"learning_rate": lr, "loss": 0.0, "grad_norm": 0.0}
        if rows:
            names = [f"row {item.key}" for item, row in zip(batch.items, encoded, strict=True) if row is not None]
            with trainer.computing():
                losses, entropy = self.accumulate(rows, names)
                metrics["grad_norm"] = trainer.update(losses, lr)
            metrics["loss"] = _total([loss for loss, _ in losses]) / tokens
            metrics["entropy"] = entropy
            metrics["target_tokens_mean"] = tokens / len(rows)
        trainer.policy += 1
        return TrainReport(
            metrics=metrics,
            trained_tokens=tokens,
            policy=trainer.policy,
            dropped={"too_long": len(encoded) - len(rows)} if len(rows) < len(encoded) else {},
            alarms=alarms_of(len(encoded), len(rows), self._context),
        )

    def accumulate(
        self, rows: Sequence[TokenRow], names: Sequence[str]
    ) -> tuple[list[tuple[Tensor, Sequence[str]]], float]:
        """Add the gradient of the loss to the parameters'. Returns each micro-batch's summed loss with the names
        of its rows, and the mean entropy over the target tokens."""
        tokens = sum(len(row.wanted) for row in rows)
        losses: list[tuple[Tensor, Sequence[str]]] = []
        entropies: list[Tensor] = []
        for indices in self._trainer.plan(rows):
            _, logprobs_N, entropy_N = self._trainer.logprobs([rows[i] for i in indices], 1.0)
            loss = -logprobs_N.sum()
            (loss / tokens).backward()  # type: ignore[no-untyped-call]
            losses.append((loss.detach(), [names[i] for i in indices]))
            entropies.append(entropy_N.detach().sum())
        return losses, _total(entropies) / tokens

    def validate(self, items: Sequence[Item]) -> Mapping[str, float]:
        """`loss` in nats per target token, and `token_accuracy`: the share of target tokens that are the
        model's first choice. {} for no items, or none that is short enough.

        The first choice needs whole logits, which a step never holds; here they come without a gradient and
        few at a time."""
        trainer = self._trainer
        rows = [row for row in self._held_out_rows.of(items) if row is not None]
        if not rows:
            return {}
        tokens = sum(len(row.wanted) for row in rows)
        vocabulary = trainer.model.config.get_text_config().vocab_size
        budget = min(self._config.micro_batch_tokens, max(1, MOST_LOGITS // vocabulary))
        losses: list[Tensor] = []
        hits: list[Tensor] = []
        with torch.no_grad(), trainer.autocast(), enough_memory("validation", TO_FIT):
            for indices in (plan_streams if self._config.packing else plan)(rows, budget):
                batch, logits_NV = trainer.logits([rows[i] for i in indices])
                logprobs_N, _ = token_logprobs(logits_NV, batch.targets_N)
                losses.append(-logprobs_N.sum())
                hits.append((logits_NV.argmax(dim=-1) == batch.targets_N).sum())
        return {"loss": _total(losses) / tokens, "token_accuracy": _total(hits) / tokens}


def _total(values: Sequence[Tensor]) -> float:
    return float(torch.stack([value.detach() for value in values]).sum(dtype=torch.float64))
