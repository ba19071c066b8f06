"""Graders of Python code, each job in a fresh fork that can reach nothing: `python` and `code_tests`.

`python` is OpenAI's grader: its source stands in the run file. `code_tests` runs a program that the model
wrote against tests of the row. What isolates them, and what is not promised: docs/sandbox.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rft_core import BuildContext, CommandSpec, Grader, GraderSpec, hookimpl
from rft_grader_python.config import CodeTestsConfig, PythonConfig, template_variables

if TYPE_CHECKING:
    import click


def _python(config: PythonConfig, context: BuildContext) -> Grader:
    from rft_grader_python.python import PythonGrader

    return PythonGrader(config)


def _code_tests(config: CodeTestsConfig, context: BuildContext) -> Grader:
    from rft_grader_python.code_tests import CodeTestsGrader

    return CodeTestsGrader(config)


def _doctor() -> click.Command:
    from rft_grader_python.cli import doctor

    return doctor


@hookimpl
def rft_commands() -> Iterable[CommandSpec]:
    """The command `doctor`."""
    yield CommandSpec(name="doctor", load=_doctor, summary="Say what isolates graders here, and what is missing")


@hookimpl
def rft_graders() -> Iterable[GraderSpec]:
    return [
        GraderSpec(
            name="python",
            config=PythonConfig,
            build=_python,
            summary="Your function grade(sample, item) from the run file, in a sandbox.",
            costly=lambda config: True,
            needs_tokens=lambda config: False,
        ),
        GraderSpec(
            name="code_tests",
            config=CodeTestsConfig,
            build=_code_tests,
            summary="Runs the program that the model wrote against tests, in a sandbox.",
            costly=lambda config: True,
            variables=template_variables,
            needs_tokens=lambda config: False,
        ),
    ]
