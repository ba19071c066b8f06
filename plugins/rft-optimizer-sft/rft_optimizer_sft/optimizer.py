"""The optimizer `sft`: cross-entropy on the completion's tokens.

    loss = −Σ log p(target token | what stands before it) / number of target tokens in the batch

The prompt's tokens are read, not learned. The end of sequence is part of the completion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from rft_core.specs import BuildContext
from rft_core.types import Item, Needs, TrainBatch, TrainReport
from rft_optimizer_sft.config import SftConfig
from rft_optimizer_sft.rows import RowEncoder
from rft_torch.batching import TokenRow, plan
from rft_torch.logprobs import token_logprobs
from rft_torch.models import load_tokenizer
from rft_torch.trained import Trained


class Sft(Trained):
    """See the module."""

    needs: Needs = "labels"

    def __init__(self, config: SftConfig, context: BuildContext) -> None:
        super().__init__(config, context)
        self._config = config
        tokenizer = load_tokenizer(self._trainer.base)
        limit = getattr(self._trainer.model.config.get_text_config(), "max_position_embeddings", None)
        # two encoders, because keys are unique in their source only
        self._train_rows = RowEncoder(tokenizer, config.target, max_tokens=limit)
        self._held_out_rows = RowEncoder(tokenizer, config.target, max_tokens=limit)

    def step(self, batch: TrainBatch) -> TrainReport:
        """One update from labelled items. Raises FloatingPointError, before the weights change, if a
        loss or gradient is not finite, and names the rows."""
        trainer = self._trainer
        rows = self._train_rows.encode(batch.items)
        tokens = sum(len(row.wanted) for row in rows)
        lr = trainer.learning_rate(batch.total_steps)
        metrics = {"learning_rate": lr, "loss": 0.0, "grad_norm": 0.0}
        if rows:
            losses: list[tuple[Tensor, Sequence[str]]] = []
            correct: list[Tensor] = []
            with trainer.computing():
                for indices, loss, hits in self._losses(rows):
                    (loss / tokens).backward()  # type: ignore[no-untyped-call]
                    losses.append((loss, [f"row {batch.items[i].key}" for i in indices]))
                    correct.append(hits)
                metrics["grad_norm"] = trainer.update(losses, lr)
            metrics["loss"] = _total([loss for loss, _ in losses]) / tokens
            metrics["token_accuracy"] = _total(correct) / tokens
            metrics["target_tokens_mean"] = tokens / len(rows)
        trainer.policy += 1
        return TrainReport(metrics=metrics, trained_tokens=tokens, policy=trainer.policy)

    def validate(self, items: Sequence[Item]) -> Mapping[str, float]:
        """`loss` in nats per target token, and `token_accuracy`: the share of target tokens that are the
        model's first choice. {} for no items."""
        if not items:
            return {}
        rows = self._held_out_rows.encode(items)
        tokens = sum(len(row.wanted) for row in rows)
        with torch.no_grad(), self._trainer.autocast():
            found = [(loss, hits) for _, loss, hits in self._losses(rows)]
        return {
            "loss": _total([loss for loss, _ in found]) / tokens,
            "token_accuracy": _total([hits for _, hits in found]) / tokens,
        }

    def _losses(self, rows: Sequence[TokenRow]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Per micro-batch: its rows, the summed loss, and how many tokens were the model's first choice."""
        for indices in plan(rows, self._config.micro_batch_tokens):
            batch, logits_NV = self._trainer.logits([rows[i] for i in indices])
            logprobs_N, _ = token_logprobs(logits_NV, batch.targets_N)
            yield indices, -logprobs_N.sum(), (logits_NV.detach().argmax(dim=-1) == batch.targets_N).sum()


def _total(values: Sequence[Tensor]) -> float:
    return float(torch.stack([value.detach() for value in values]).sum(dtype=torch.float64))
