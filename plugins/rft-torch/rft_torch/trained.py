"""What every optimizer with a `Trainer` does the same way: publish, save and continue its policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rft_core.specs import BuildContext
from rft_core.types import WeightRef
from rft_torch.long_rows import context_of, refuse_long_prompts
from rft_torch.models import load_model
from rft_torch.settings import TrainerConfig
from rft_torch.trainer import Trainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Trained:
    """The part of `rft_core.Optimizer` that the trainer answers; a subclass adds `needs`, `step` and `validate`.

    Raises what `Trainer` raises, and DataError for a row to be sampled whose prompt fills the model's context."""

    def __init__(
        self,
        config: TrainerConfig,
        context: BuildContext,
        *,
        keep_reference: bool = False,
        load: Callable[..., PreTrainedModel] = load_model,
    ) -> None:
        self._trainer = Trainer(config, context, keep_reference=keep_reference, load=load)
        self.bitwise = self._trainer.bitwise
        for source in context.sampled:
            refuse_long_prompts(source, context_of(self._trainer.model), self._trainer.base)

    def publish(self, folder: Path, *, run_id: str, lineage: str) -> WeightRef:
        return self._trainer.publish(folder, run_id=run_id, lineage=lineage)

    def save(self, folder: Path) -> None:
        self._trainer.save(folder)

    def load(self, folder: Path) -> None:
        self._trainer.load(folder)

    def close(self) -> None:
        """Nothing is held but memory."""
