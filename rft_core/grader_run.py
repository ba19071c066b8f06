"""One grade outside a run, told as OpenAI's `graders/run` tells it.

    grade_text({"type": "string_check", ...}, "the completion", {"answer": "…"})["reward"]

A grade that failed has the reward 0 and a flag there; in a run it is left out instead.
Source: https://platform.openai.com/docs/api-reference/graders/run
"""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rft_core.hosting import GraderHost
from rft_core.registry import Registry
from rft_core.specs import BuildContext
from rft_core.types import Grade, GradeUnit, Group, Item, Rollout, TokenUsage

FLAGS = (
    "formula_parse_error",
    "sample_parse_error",
    "truncated_observation_error",
    "unresponsive_reward_error",
    "invalid_variable_error",
    "other_error",
    "python_grader_server_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
    "model_grader_exceeded_max_tokens_error",
    "endpoint_grader_internal_error",
    "endpoint_grader_server_error",
    "endpoint_grader_safety_check_error",
)
"""Error flags of the contract; each is false, or true for the kind of error that there was."""
DETAILED = {
    "sample_parse_error",
    "invalid_variable_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "model_grader_refusal_error",
    "model_grader_parse_error",
    "endpoint_grader_internal_error",
    "endpoint_grader_server_error",
}
"""Flags with a `…_details` beside them: the sentence, or null."""


@contextmanager
def opened(registry: Registry, raw: Mapping[str, Any], base_dir: Path, *, concurrency: int = 1) -> Iterator[GraderHost]:
    """A grader in this process. RftErrors for what is wrong with its settings."""
    component = registry.build("grader", raw, BuildContext(base_dir=base_dir), where="grader")
    host = GraderHost(component, concurrency)
    try:
        yield host
    finally:
        host.close()


def group_of(texts: list[str], item: Mapping[str, Any], *, key: str = "item", ordinal: int = 0) -> Group:
    """Completions of one row, as a sampler would hand them over."""
    rollouts = tuple(
        Rollout(ordinal=ordinal, sample=n, seed=n, segments=(), text=text, finish_reason="stop")
        for n, text in enumerate(texts)
    )
    return Group(ordinal=ordinal, item=Item(key=key, index=ordinal, row=dict(item)), rollouts=rollouts)


def grade_texts(host: GraderHost, groups: list[Group], *, timeout_s: float) -> list[tuple[Grade, ...]]:
    """Grades of each group, whatever the grader does."""
    unit = GradeUnit(
        request_id=f"grade-{secrets.token_hex(8)}", run_id="grade", groups=tuple(groups), timeout_s=timeout_s
    )
    return list(host.grade(unit).grades)


def grade_text(
    raw: Mapping[str, Any],
    model_sample: str,
    item: Mapping[str, Any] | None = None,
    *,
    registry: Registry | None = None,
    base_dir: Path | None = None,
    timeout_s: float = 120.0,
) -> dict[str, Any]:
    """Build a grader, grade one text, and answer as `graders/run` does."""
    registry = registry or Registry.discover()
    with opened(registry, raw, base_dir or Path.cwd()) as host:
        start = time.monotonic()
        ((grade,),) = grade_texts(host, [group_of([model_sample], item or {})], timeout_s=timeout_s)
        return run_object(raw, grade, time.monotonic() - start)


def run_object(raw: Mapping[str, Any], grade: Grade, took_s: float) -> dict[str, Any]:
    """The contract's response for one grade; `outcome` and `details` beside it are ours."""
    errors: dict[str, Any] = {}
    for flag in FLAGS:
        errors[flag] = grade.error_kind == flag
        if flag in DETAILED:
            errors[f"{flag}_details"] = grade.message if grade.error_kind == flag else None
    errors["python_grader_server_error_type"] = None
    if grade.error_kind is not None and grade.error_kind not in FLAGS:
        errors["other_error"] = True
    usage = {model: _usage(used) for model, used in grade.usage.items()}
    is_multi = raw.get("type") == "multi"
    return {
        "reward": grade.reward if grade.reward is not None else 0.0,
        "metadata": {
            "name": raw.get("name") or default_name(),
            "type": raw.get("type"),
            "errors": errors,
            "execution_time": took_s,
            "scores": dict(grade.metrics),
            "token_usage": next(iter(usage.values())) if len(usage) == 1 else None,
            "sampled_model_name": next(iter(usage)) if len(usage) == 1 else None,
        },
        "sub_rewards": dict(grade.sub_rewards) if is_multi else {},
        "model_grader_token_usage_per_model": usage,
        "outcome": {"kind": grade.outcome.value, "error": grade.error_kind, "message": grade.message},
        "details": dict(grade.details),
    }


def default_name() -> str:
    """`grader-` and twelve letters or digits, as OpenAI names a grader without a name."""
    alphabet = string.ascii_letters + string.digits
    return "grader-" + "".join(secrets.choice(alphabet) for _ in range(12))


def _usage(used: TokenUsage) -> dict[str, int]:
    counts = asdict(used)
    counts.pop("calls")
    return {**counts, "total_tokens": used.prompt_tokens + used.completion_tokens}
