"""What the validations of a stage say so far: which steps were best, and whether to go on."""

from __future__ import annotations

from collections.abc import Mapping

from rft_core.errors import ConfigError
from rft_core.runs.evaluation import Evaluation
from rft_core.runs.run import Run


class ValidationHistory:
    """One score a validated step, by one measure: the mean reward, or minus the loss.

    ConfigError if early stopping asks for what the stage does not measure."""

    def __init__(self, run: Run) -> None:
        self._stopping = run.config.validation.early_stopping
        self._by_loss = self._stopping.metric == "loss" if self._stopping else not run.samples_validation
        self.scores: dict[int, float] = {}
        """By step. A step whose grades all failed has none."""
        for record in run.journal.records:
            if record.kind == "evaluation":
                self._add(record.step, record.data.get("reward_mean"), record.data["metrics"])

    def seen(self, evaluation: Evaluation | None) -> None:
        if evaluation is not None:
            self._add(evaluation.step, evaluation.reward_mean, evaluation.metrics)

    def _add(self, step: int, reward_mean: float | None, metrics: Mapping[str, float]) -> None:
        score = -metrics["loss"] if self._by_loss and "loss" in metrics else None if self._by_loss else reward_mean
        if score is not None:
            self.scores[step] = score
        elif self._by_loss and self._stopping is not None:
            raise ConfigError("this run measures no validation loss", where="validation.early_stopping")

    def best_steps(self, count: int) -> list[int]:
        """The best `count` validated steps after the start, the best first; the earlier of equals."""
        return sorted((s for s in self.scores if s > 0), key=lambda s: (-self.scores[s], s))[:count]

    @property
    def stalled(self) -> bool:
        """Whether early stopping is asked for and the last evaluations brought nothing."""
        if self._stopping is None:
            return False
        best, since = float("-inf"), 0
        for step in sorted(self.scores):
            improved = self.scores[step] > best + self._stopping.min_delta
            best, since = (self.scores[step], 0) if improved else (best, since + 1)
        return since >= self._stopping.patience
