"""The data source `rollouts`: what a run sampled and graded, as rows to learn from.

    choose: best     one row per visit of a prompt: its best completion as `completion`, and its `reward`
    choose: pairs    one row per visit: the best as `chosen`, the worst as `rejected`, and their difference as `margin`

The first is best-of-n, also called rejection sampling (arXiv 2307.09288, section 3.2.3), for `sft` with the target
`{{item.completion}}`; the second makes pairs of a policy's own completions, for `dpo` or `reward_model`. All other keys
of the run's rows stay; those of these names are replaced. Of equal rewards the earlier sample counts as the better one.
Completions without a reward, and those cut off at the token limit, are passed over: they would teach to end there.
An empty completion is never the best one: nothing could be learned from it but to say nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rft_core import Item
from rft_core.canonical import canonical_json
from rft_core.errors import DataError
from rft_core.storage.rundir import RunDir
from rft_core.storage.store import read_table
from rft_core.types import Json
from rft_preference.config import RolloutsConfig

COLUMNS = ["ordinal", "sample", "item_key", "item", "text", "finish_reason", "reward"]
Sampled = Mapping[str, Any]
"""One rollout as the run's file has it."""


class RolloutsSource:
    """Implements `rft_core.DataSource` over the training rollouts of a run, in the order in which they were drawn.
    RunDirError if `path` is no run; DataError if nothing in it is wanted."""

    def __init__(self, config: RolloutsConfig, base_dir: Path) -> None:
        self._config = config
        run = RunDir.open(base_dir / Path(config.path).expanduser())
        self._items: list[Item] = []
        sampled: list[Sampled] = []
        for file in _files(run, config):
            rollouts = read_table(file, COLUMNS).to_pylist()
            sampled += rollouts if not self._items else ()
            for ordinal, group in groupby(rollouts, key=lambda rollout: rollout["ordinal"]):
                for number, row in enumerate(self._rows(list(group))):
                    key = f"{run.path.name}:{ordinal}" + (f".{number}" if number else "")
                    self._items.append(Item(key=key, index=len(self._items), row=row))
        if not self._items:
            raise DataError(f"no rollout of the run {run.path} can be learned from: {_why_none(sampled, config)}")

    def __len__(self) -> int:
        return len(self._items)

    def item(self, index: int) -> Item:
        """The row at `index`. IndexError outside the range."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a source with {len(self)} rows")
        return self._items[index]

    def fingerprint(self) -> str:
        """`sha256:…` of the rows as canonical JSON lines."""
        sha = hashlib.sha256()
        for item in self._items:
            sha.update(canonical_json(item.row) + b"\n")
        return f"sha256:{sha.hexdigest()}"

    def _rows(self, group: list[Sampled]) -> Iterator[dict[str, Json]]:
        """The rows of one visit of a prompt."""
        config = self._config
        usable = [r for r in group if r["reward"] is not None and r["finish_reason"] != "length"]
        ranked = sorted({r["text"]: r for r in reversed(usable)}.values(), key=lambda r: (-r["reward"], r["sample"]))
        least = -math.inf if config.min_reward is None else config.min_reward
        good = [rollout for rollout in ranked if rollout["reward"] >= least and rollout["text"]]
        if config.choose == "best":
            for rollout in good[: config.per_prompt]:
                yield {**json.loads(rollout["item"]), "completion": rollout["text"], "reward": rollout["reward"]}
        elif good and (margin := good[0]["reward"] - ranked[-1]["reward"]) > config.min_margin:
            yield {
                **json.loads(good[0]["item"]),
                "chosen": good[0]["text"],
                "rejected": ranked[-1]["text"],
                "margin": margin,
            }


def _why_none(sampled: Sequence[Sampled], config: RolloutsConfig) -> str:
    if not sampled:
        return "it sampled nothing in these steps; let it sample, or name other steps"
    told = Counter(_left_out(rollout, config) for rollout in sampled)
    good = told.pop("", 0)
    reasons = [f"{count} {what}" for what, count in told.most_common()]
    if good:  # pairs want another one beside it
        reasons.append(f"{good} {'is' if good == 1 else 'are'} good, but no prompt has two whose rewards differ enough")
    limits = ["min_reward"] * ("below min_reward" in told) + ["min_margin"] * (good > 0 and config.min_margin > 0)
    advice = f"lower {' and '.join(limits)}" if limits else "take another run, or another grader"
    return f"of {len(sampled)}, {', '.join(reasons)}; {advice}"


def _left_out(rollout: Sampled, config: RolloutsConfig) -> str:
    """Why a rollout is not one to be preferred; "" if it is."""
    if rollout["reward"] is None:
        return "without a reward"
    if rollout["finish_reason"] == "length":
        return "cut off at max_tokens"
    if not rollout["text"]:
        return "empty"
    return "below min_reward" if config.min_reward is not None and rollout["reward"] < config.min_reward else ""


def _files(run: RunDir, config: RolloutsConfig) -> Iterator[Path]:
    """The files of the wanted training steps that the run has, in order."""
    names = [path.name for path in run.rollouts.iterdir()] if run.rollouts.is_dir() else []
    digits = [name.removeprefix("step-").removesuffix(".parquet") for name in names]
    for step in sorted(int(text) for text in digits if text.isdigit()):
        if config.first_step <= step and (config.last_step is None or step <= config.last_step):
            yield run.rollout_file("train", step)
