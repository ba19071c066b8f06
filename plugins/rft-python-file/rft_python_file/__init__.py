"""Graders and data sources that are a function in a Python file.

The file is the user's own code, trusted like the run file itself: it runs unsandboxed in the process
that hosts the component (a grader worker, or the engine for data). The text of a completion reaches
it as data only.
"""

from __future__ import annotations

from collections.abc import Iterable

from rft_core import BuildContext, DataSource, DataSourceSpec, Grader, GraderSpec, hookimpl
from rft_python_file.config import PythonFileDataConfig, PythonFileGraderConfig


def _grader(config: PythonFileGraderConfig, context: BuildContext) -> Grader:
    from rft_python_file.grader import PythonFileGrader

    return PythonFileGrader(config, context.base_dir)


def _data(config: PythonFileDataConfig, context: BuildContext) -> DataSource:
    from rft_python_file.data import PythonFileSource

    return PythonFileSource(config, context.base_dir)


@hookimpl
def rft_graders() -> Iterable[GraderSpec]:
    return [
        GraderSpec(
            name="python_file",
            config=PythonFileGraderConfig,
            build=_grader,
            summary="Your function grade(sample, item).",
            deterministic=lambda config: config.deterministic,
            whole_groups=lambda config: config.scope == "group",
            files=lambda config: (config.file,),
            needs_tokens=lambda config: False,
        )
    ]


@hookimpl
def rft_data_sources() -> Iterable[DataSourceSpec]:
    return [
        DataSourceSpec(
            name="python_file", config=PythonFileDataConfig, build=_data, summary="Rows from your function rows()."
        )
    ]
