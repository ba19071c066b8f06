"""The rollout store: one Parquet file per step with every rollout and its grade.

The content digest covers the rollouts and grades, not the bytes of the file, and is part of the run's hash.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rft_core import failpoints
from rft_core.canonical import canonical_json
from rft_core.errors import IntegrityError, StorageError
from rft_core.storage.files import fsync_file, fsync_folder, storage
from rft_core.types import Grade, GradedGroup, Group, Item, Outcome, Rollout, Segment, TokenUsage

SEGMENT = pa.struct(
    [
        ("role", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("trained", pa.bool_()),
        ("policy", pa.int32()),
    ]
)
USAGE = pa.struct(
    [
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("calls", pa.int64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("ordinal", pa.int64()),
        ("item_key", pa.string()),
        ("item_index", pa.int64()),
        ("item", pa.string()),
        ("sample", pa.int32()),
        ("seed", pa.int64()),
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("outcome", pa.string()),
        ("reward", pa.float64()),
        ("error_kind", pa.string()),
        ("message", pa.string()),
        ("sub_rewards", pa.map_(pa.string(), pa.float64())),
        ("metrics", pa.map_(pa.string(), pa.float64())),
        ("details", pa.string()),
        ("usage", pa.map_(pa.string(), USAGE)),
        ("faults", pa.map_(pa.string(), pa.string())),
        ("segments", pa.list_(SEGMENT)),
    ]
)


def to_table(step: int, groups: Sequence[GradedGroup]) -> pa.Table:
    """One row per rollout, groups and samples in order."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for graded in groups:
        item = graded.group.item
        text = json.dumps(item.row, ensure_ascii=False)
        for rollout, grade in zip(graded.group.rollouts, graded.grades, strict=True):
            values = (
                step,
                rollout.ordinal,
                item.key,
                item.index,
                text,
                rollout.sample,
                rollout.seed,
                rollout.text,
                rollout.finish_reason,
                grade.outcome.value,
                grade.reward,
                grade.error_kind,
                grade.message,
                list(grade.sub_rewards.items()),
                list(grade.metrics.items()),
                json.dumps(grade.details, ensure_ascii=False) if grade.details else None,
                [(model, asdict(used)) for model, used in grade.usage.items()],
                list(grade.faults.items()),
                [
                    {
                        "role": s.role,
                        "token_ids": s.token_ids,
                        "logprobs": s.logprobs,
                        "trained": s.trained,
                        "policy": s.policy,
                    }
                    for s in rollout.segments
                ],
            )
            for name, value in zip(SCHEMA.names, values, strict=True):
                columns[name].append(value)
    return pa.table(columns, schema=SCHEMA)


def content_digest(groups: Sequence[GradedGroup]) -> str:
    """SHA-256 over what the groups say, whatever the layout of the file that carries them."""
    hasher = hashlib.sha256()
    for graded in groups:
        item = graded.group.item
        hasher.update(canonical_json([graded.group.ordinal, item.key, item.index, item.row]))
        for rollout, grade in zip(graded.group.rollouts, graded.grades, strict=True):
            values: list[Any] = [rollout.sample, rollout.seed, rollout.text, rollout.finish_reason]
            values += [grade.outcome.value, grade.reward, grade.error_kind, grade.message]
            values += [dict(grade.sub_rewards), dict(grade.metrics)]
            if grade.details or grade.usage:
                values += [dict(grade.details), {model: asdict(used) for model, used in grade.usage.items()}]
            if grade.faults:
                values.append(dict(grade.faults))
            for s in rollout.segments:
                values += [s.role, len(s.token_ids), s.logprobs is not None, s.trained, s.policy]
                hasher.update(array("i", s.token_ids))
                hasher.update(array("f", s.logprobs or ()))
            hasher.update(canonical_json(values))
    return hasher.hexdigest()


def write(path: Path, table: pa.Table) -> None:
    """Write under a temporary name, sync, then rename: what the journal refers to outlasts a power cut. A
    torn file is noticed by its digest when read."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with storage(f"write {path.name}", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            pq.write_table(table, temporary, compression="zstd", compression_level=1)
            fsync_file(temporary)
            failpoints.hit("store.temporary_written")
            temporary.replace(path)
            fsync_folder(path.parent)
            failpoints.hit("store.renamed")
        finally:
            temporary.unlink(missing_ok=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All columns, or some; those that an earlier release did not write are null. StorageError if the file is
    missing, IntegrityError if it is not a whole Parquet file."""
    wanted = [SCHEMA.field(name) for name in columns or SCHEMA.names]
    try:
        with pq.ParquetFile(path) as file:  # read_table would import pyarrow.dataset, which takes 0.1 s
            table = file.read([field.name for field in wanted if field.name in file.schema_arrow.names])
        return pa.table(
            [
                table[field.name].cast(field.type)
                if field.name in table.column_names
                else pa.nulls(len(table), field.type)
                for field in wanted
            ],
            schema=pa.schema(wanted),
        )
    except FileNotFoundError:
        raise StorageError(f"the rollouts file {path} is missing; restore it, or start a new run") from None
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"the rollouts file {path} is damaged: {error}") from None


def read(path: Path, expected: str) -> list[GradedGroup]:
    """The graded groups of a step, as they were stored. IntegrityError unless the digest matches."""
    groups = from_table(read_table(path))
    if content_digest(groups) != expected:
        raise IntegrityError(f"the rollouts file {path} is not what the journal recorded; restore it from a backup")
    return groups


def from_table(table: pa.Table) -> list[GradedGroup]:
    result: list[GradedGroup] = []
    rollouts: list[Rollout] = []
    grades: list[Grade] = []
    rows = table.to_pylist()
    for position, row in enumerate(rows):
        rollouts.append(_rollout(row))
        grades.append(_grade(row))
        following = rows[position + 1] if position + 1 < len(rows) else None
        if following is None or following["ordinal"] != row["ordinal"]:
            item = Item(key=row["item_key"], index=row["item_index"], row=json.loads(row["item"]))
            group = Group(ordinal=row["ordinal"], item=item, rollouts=tuple(rollouts))
            result.append(GradedGroup(group=group, grades=tuple(grades)))
            rollouts, grades = [], []
    return result


def _rollout(row: dict[str, Any]) -> Rollout:
    return Rollout(
        ordinal=row["ordinal"],
        sample=row["sample"],
        seed=row["seed"],
        segments=tuple(
            Segment(
                role=s["role"],
                token_ids=tuple(s["token_ids"]),
                logprobs=None if s["logprobs"] is None else tuple(s["logprobs"]),
                trained=s["trained"],
                policy=s["policy"],
            )
            for s in row["segments"]
        ),
        text=row["text"],
        finish_reason=row["finish_reason"],
    )


def _grade(row: dict[str, Any]) -> Grade:
    return Grade(
        outcome=Outcome(row["outcome"]),
        reward=row["reward"],
        error_kind=row["error_kind"],
        message=row["message"],
        sub_rewards=dict(row["sub_rewards"]),
        metrics=dict(row["metrics"]),
        details=json.loads(row["details"]) if row["details"] else {},
        usage={model: TokenUsage(**used) for model, used in row["usage"] or ()},
        faults=dict(row["faults"] or ()),
    )
