"""Components in the engine's own process, with what they raise made into a sentence that names them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rft_core.boundary import component_error
from rft_core.errors import ComponentError, NumericsError, PluginError
from rft_core.protocols import DataSource, ModelSource, Optimizer
from rft_core.types import Item, ModelRef, TrainBatch, TrainReport, WeightRef


@contextmanager
def _named(what: str, folder: Path | None = None) -> Iterator[None]:
    """An error of the component, which writes in `folder` if it has one, becomes a sentence that names it."""
    try:
        yield
    except Exception as error:
        raise component_error(error, what, folder) from error


class HostedOptimizer:
    """An optimizer whose reports are checked: plain finite numbers alone reach the journal."""

    def __init__(self, optimizer: object, name: str) -> None:
        if not isinstance(optimizer, Optimizer):
            wanted = ("needs", "bitwise", "step", "validate", "publish", "save", "load", "close")
            lacks = ", ".join(member for member in wanted if not hasattr(optimizer, member))
            raise PluginError(f"the optimizer '{name}' lacks {lacks}; it must have all of rft_core.protocols.Optimizer")
        self._optimizer, self._what = optimizer, f"the optimizer '{name}'"
        self.needs = optimizer.needs
        self.bitwise = optimizer.bitwise

    def step(self, batch: TrainBatch) -> TrainReport:
        where = f"{self._what}, in step {batch.step},"
        with _named(where):
            try:
                report = self._optimizer.step(batch)
            except NumericsError as error:
                raise NumericsError(f"in step {batch.step}, {error}") from error
            return replace(
                report,
                metrics=_finite(report.metrics, where),
                trained_tokens=int(report.trained_tokens),
                dropped={str(kind): int(count) for kind, count in report.dropped.items()},
                alarms=tuple(map(str, report.alarms)),
            )

    def validate(self, items: Sequence[Item]) -> Mapping[str, float]:
        where = f"{self._what}, on the validation rows,"
        with _named(where):
            return _finite(self._optimizer.validate(items), where)

    def publish(self, folder: Path, *, run_id: str, lineage: str) -> WeightRef:
        with _named(f"{self._what}, on publishing its weights,", folder):
            return self._optimizer.publish(folder, run_id=run_id, lineage=lineage)

    def save(self, folder: Path) -> None:
        with _named(f"{self._what}, on saving,", folder):
            self._optimizer.save(folder)

    def load(self, folder: Path) -> None:
        with _named(f"{self._what}, on loading {folder},"):
            self._optimizer.load(folder)

    def close(self) -> None:
        with _named(f"{self._what}, on closing,"):
            self._optimizer.close()


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The data of a run."""

    train: DataSource
    validation: DataSource | None = None
    test: DataSource | None = None

    def of(self, split: str) -> DataSource | None:
        source: DataSource | None = getattr(self, split)
        return source


class HostedSource:
    """A data source."""

    def __init__(self, source: DataSource, name: str) -> None:
        self._source, self._what = source, f"the data source '{name}'"
        self.skipped: Sequence[object] = getattr(source, "skipped", ())

    def __len__(self) -> int:
        with _named(self._what):
            return len(self._source)

    def item(self, index: int) -> Item:
        with _named(f"{self._what}, at row {index},"):
            return self._source.item(index)

    def fingerprint(self) -> str:
        with _named(self._what):
            return self._source.fingerprint()


def materialize(source: ModelSource, name: str, cache_dir: Path) -> ModelRef:
    """Where the model lies, once it does."""
    with _named(f"the model source '{name}'", cache_dir):
        return source.materialize(cache_dir)


def _finite(metrics: Mapping[str, float], where: str) -> dict[str, float]:
    found = {str(name): float(value) for name, value in metrics.items()}
    for name, value in found.items():
        if not math.isfinite(value):
            raise ComponentError(f"{where} reported {name} = {value}; lower the learning rate, or look at its batch")
    return found
