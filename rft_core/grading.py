"""What graders see of a rollout: the namespace `sample` of the OpenAI grader contract.

    output_text   the completion
    output_json   the completion parsed as strict JSON; absent if it is not JSON
    output_tools  the tool calls of the completion (none yet: completions are text)
    choices       [{"message": {"role": "assistant", "content": text}, "finish_reason": ...}]

Source: https://platform.openai.com/docs/guides/graders

The text was written by the model that is trained: it is data, and is parsed, never evaluated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from rft_core import strict_json
from rft_core.errors import DataError, MissingVariableError
from rft_core.types import Grade, GradeUnit, Json, Rollout


class SampleNamespace(Mapping[str, Json]):
    """`sample` for templates. The completion is parsed as JSON when `output_json` is first asked for."""

    __slots__ = ("_rollout", "_values")

    def __init__(self, rollout: Rollout) -> None:
        self._rollout = rollout
        self._values: dict[str, Json] | None = None

    def __getitem__(self, key: str) -> Json:
        if key == "output_text":
            return self._rollout.text
        if self._values is None:
            self._values = sample_dict(self._rollout)
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        if self._values is None:
            self._values = sample_dict(self._rollout)
        return iter(self._values)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def sample_namespace(rollout: Rollout) -> SampleNamespace:
    """The namespace `sample` of one rollout, for `rft_core.template.render`."""
    return SampleNamespace(rollout)


def sample_dict(rollout: Rollout) -> dict[str, Json]:
    """The same as a new plain dict, for functions of users. Without the key `output_json` if the text is not JSON."""
    message = {"role": "assistant", "content": rollout.text}
    found: dict[str, Json] = {
        "output_text": rollout.text,
        "output_tools": [],
        "choices": [{"index": 0, "message": message, "finish_reason": rollout.finish_reason}],
    }
    # A text that is not JSON is an ordinary completion.
    with contextlib.suppress(DataError):
        found["output_json"] = strict_json.loads(rollout.text)
    return found


def without_tokens(unit: GradeUnit) -> GradeUnit:
    """The unit as a grader that needs no tokens gets it, here and in a worker: no rollout has segments."""
    return replace(
        unit,
        groups=tuple(
            replace(group, rollouts=tuple(replace(rollout, segments=()) for rollout in group.rollouts))
            for group in unit.groups
        ),
    )


def grade_of_missing(error: MissingVariableError, *, minimum: float = 0.0) -> Grade:
    """The grade of a rollout whose template variable has no value.

    What the sample lacks is the sample's fault and scores `minimum`, or a policy could escape a bad
    grade by leaving a key out. What the row lacks is a fault of the data: a grader error, not trained on.
    """
    if error.variable.startswith("sample.output_json"):
        return Grade.invalid(f"the completion does not hold the JSON that the grader reads: {error}", minimum=minimum)
    if error.variable.startswith("sample."):
        return Grade.invalid(str(error), kind="invalid_variable_error", minimum=minimum)
    return Grade.error("invalid_variable_error", str(error))
