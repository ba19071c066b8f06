"""Settings of the graders `python` and `code_tests`.

Source: https://platform.openai.com/docs/api-reference/graders
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rft_core import ComponentConfig
from rft_core.canonical import digest
from rft_core.template import variables
from rft_grader_python.sandbox.setup import Limits
from rft_grader_python.source import check_source

IMAGE_TAGS = ("2025-05-08",)
MAX_SOURCE_BYTES = 256_000


class SandboxConfig(ComponentConfig):
    """What both graders have: a name, and limits."""

    name: str = Field("", description="Shown in tables and curves; `grader-` and a digest of the settings if left out.")
    pass_threshold: float | None = Field(
        None, description="Accepted for the contract's sake; it does not change the reward."
    )
    sandbox: Literal["auto", "bubblewrap", "namespaces", "landlock", "none"] = Field(
        "auto",
        description="auto: the strongest isolation this machine gives, or refuse. A tier's name: that one, or refuse. none: no isolation at all.",
    )
    memory_bytes: int = Field(2 << 30, ge=128 << 20, description="Most memory of one job, its children included.")
    disk_bytes: int = Field(1 << 30, ge=1 << 20, description="Most that one job may write to its private folder.")
    parallel: int = Field(0, ge=0, le=1024, description="Jobs at once; 0: one for each core.")

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and not raw.get("name"):
            return {**raw, "name": f"grader-{digest(dict(raw))[:12]}"}
        return raw

    def limits(self, time_s: float) -> Limits:
        """Limits of one job that may take that long."""
        return Limits(memory_bytes=self.memory_bytes, disk_bytes=self.disk_bytes, cpu_s=int(time_s) + 2)


class PythonConfig(SandboxConfig):
    """OpenAI's python grader; `timeout_s` and the sandbox's settings are ours."""

    type: Literal["python"] = "python"
    source: str = Field(description="Python that defines `grade(sample, item)`, under 256 kB.")
    image_tag: str | None = Field(
        None, description="Accepted for the contract's sake; the packages are those installed here."
    )
    timeout_s: float = Field(120.0, gt=0, le=3600, description="Longest one call may take.")

    @field_validator("source")
    @classmethod
    def _defines_grade(cls, source: str) -> str:
        size = len(source.encode("utf-8", "surrogatepass"))
        if size >= MAX_SOURCE_BYTES:
            raise ValueError(f"the source has {size} bytes; it must have less than {MAX_SOURCE_BYTES}")
        check_source(source)
        return source


class CodeTestsConfig(SandboxConfig):
    """Runs the program that the model wrote against tests of the row."""

    type: Literal["code_tests"] = "code_tests"
    tests: str = Field(
        description='Template of the tests: a list of {"input", "output"}, or a test file that imports `solution`.'
    )
    input: str = Field("{{sample.output_text}}", description="Template of the text that holds the program.")
    language: Literal["python"] = Field("python", description="What the program is written in.")
    extract: Literal["last_block", "all"] = Field(
        "last_block", description="last_block: the last fenced code block, or all where there is none. all: the text."
    )
    entry_point: str | None = Field(
        None, description="Template of the function that `check(candidate)` of a test file gets."
    )
    compare: Literal["lines", "exact"] = Field(
        "lines",
        description="lines: without white space at the ends of lines and of the output. exact: every character.",
    )
    score: Literal["fraction", "all"] = Field(
        "fraction", description="fraction: the share of tests that pass. all: 1 if every test passes, else 0."
    )
    timeout_s: float = Field(
        10.0, gt=0, le=3600, description="Longest the program may take: for one input, or for a whole test file."
    )

    @field_validator("tests", "input", "entry_point")
    @classmethod
    def _compiles(cls, template: str | None) -> str | None:
        if template is not None:
            variables(template)
        return template


def template_variables(config: CodeTestsConfig) -> tuple[str, ...]:
    """Variables of all templates, each once."""
    texts = [config.tests, config.input, *([config.entry_point] if config.entry_point else [])]
    return tuple(dict.fromkeys(name for text in texts for name in variables(text)))
