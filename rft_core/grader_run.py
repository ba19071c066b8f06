"""One grade outside a run, told as OpenAI's `graders/run` tells it.

    grade_text({"type": "string_check", ...}, "the completion", {"answer": "…"})["reward"]

A grade that failed has the reward 0 and a flag there; in a run it is left out instead.
Source: https://platform.openai.com/docs/api-reference/graders/run
"""

from __future__ import annotations

import json
import secrets
import string
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

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


class OpenGraders:
    """Graders of this process by their settings; the last few that were asked for stay open. Use it in a `with`."""

    def __init__(self, registry: Registry, base_dir: Path, *, most: int = 4) -> None:
        self._registry, self._base_dir, self._most = registry, base_dir, most
        self._open: OrderedDict[str, tuple[GraderHost, ExitStack]] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for _, stack in self._open.values():
            stack.close()

    def host(self, raw: Mapping[str, Any]) -> GraderHost:
        """The grader with these settings, built unless it is open. RftErrors for what is wrong with them."""
        key = json.dumps(raw, sort_keys=True)
        if key in self._open and self._open[key][0].exhausted:
            self._open.pop(key)[1].close()
        if key not in self._open:
            stack = ExitStack()
            host = stack.enter_context(opened(self._registry, raw, self._base_dir))
            self._open[key] = (host, stack)
            while len(self._open) > self._most:
                self._open.popitem(last=False)[1][1].close()
        self._open.move_to_end(key)
        return self._open[key][0]


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
    with OpenGraders(registry or Registry.discover(), base_dir or Path.cwd()) as graders:
        return grade_with(graders, raw, model_sample, item, timeout_s=timeout_s)


def grade_with(
    graders: OpenGraders,
    raw: Mapping[str, Any],
    model_sample: str,
    item: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = 120.0,
) -> dict[str, Any]:
    """The same with graders that stay open, for many texts."""
    host = graders.host(raw)
    start_s = time.monotonic()
    ((grade,),) = grade_texts(host, [group_of([model_sample], item or {})], timeout_s=timeout_s)
    return run_object(raw, grade, time.monotonic() - start_s)


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
