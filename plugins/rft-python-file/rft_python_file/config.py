"""Settings of the components `python_file`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from rft_core import ComponentConfig


class _FunctionConfig(ComponentConfig):
    path: str = Field(description="`file.py:function`; a relative path starts at the folder of the run file.")

    @field_validator("path")
    @classmethod
    def _names_both(cls, path: str) -> str:
        file, colon, function = path.rpartition(":")
        if not colon or not file.endswith(".py") or not function.isidentifier():
            raise ValueError("write the path as file.py:function, such as ./grader.py:grade")
        return path

    @property
    def file(self) -> str:
        return self.path.rpartition(":")[0]

    @property
    def function(self) -> str:
        return self.path.rpartition(":")[2]


class PythonFileGraderConfig(_FunctionConfig):
    """The function takes `(sample, item)`, like OpenAI's python grader, or `(samples, item)`."""

    type: Literal["python_file"] = "python_file"
    name: str | None = Field(None, description="Shown in tables and curves.")
    scope: Literal["rollout", "group"] = Field(
        "rollout",
        description="rollout: called once per rollout. group: once per group, with the list of samples; returns a list.",
    )
    concurrency: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Most calls at the same time, for each grader worker, also for rollouts of one group; empty: those of a group one after the other. For functions that wait, such as for a service.",
    )
    deterministic: bool = Field(
        True,
        description="Whether the same completion always gets the same grade. false for a judge that draws at random.",
    )
    pass_threshold: float | None = Field(
        None, description="Accepted for the contract's sake; it does not change the reward."
    )


class PythonFileDataConfig(_FunctionConfig):
    """The function returns or yields row objects."""

    kwargs: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the function.")
