"""What every source with columns does: choose columns, and make the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rft_core.errors import DataError, MissingVariableError, nearest
from rft_core.template import compile_template
from rft_core.types import Json
from rft_data_tables.config import TableConfig

RESERVED = ("messages", "tools")


class Layout:
    """The columns of one file, and how they become a row."""

    def __init__(self, config: TableConfig, names: Sequence[str], *, file: str, hint: str = "") -> None:
        """`hint` is what may be wrong with the file where a column is not found. DataError."""
        self._prompt = None if config.prompt is None else compile_template(config.prompt)
        self._system = None if config.system is None else compile_template(config.system)
        for name in config.columns or ():
            _require(name, names, "columns", file, hint)
        self.columns = [name for name in names if config.columns is None or name in config.columns]
        for template, setting in ((self._prompt, "prompt"), (self._system, "system")):
            for variable in () if template is None else template.parts:
                if not isinstance(variable, str):
                    _require(str(variable.steps[1]), self.columns, setting, file, hint)
        if config.prompt is not None and "messages" in self.columns:
            raise DataError(
                "there is a column 'messages' and a prompt",
                file=file,
                hint="remove the setting prompt, or leave the column out of columns",
            )
        if config.prompt is None and "messages" not in self.columns:
            shown = ", ".join(self.columns[:12])
            raise DataError(
                f"there is no column 'messages' and no prompt; the columns are {shown}",
                file=file,
                hint=hint or f'write the setting prompt, such as prompt: "{{{{item.{self.columns[0]}}}}}"',
            )

    def row(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """The row of these values, prompt included. DataError without a place."""
        row = {name: value for name, value in values.items() if not (name == "tools" and not value)}
        if self._prompt is None:
            return row
        messages = []
        for role, template in (("developer", self._system), ("user", self._prompt)):
            if template is not None:
                try:
                    messages.append({"role": role, "content": template.render({"item": values})})
                except MissingVariableError as error:
                    raise DataError(str(error), hint="mend the cell or the template") from None
        return {"messages": messages, **row}


def _require(name: str, names: Sequence[str], setting: str, file: str, hint: str) -> None:
    if name not in names:
        raise DataError(
            f"there is no column '{name}', which the setting {setting} names{nearest(name, names)}",
            file=file,
            hint=hint or None,
        )


def unique(names: Sequence[str], file: str) -> None:
    """DataError for a name that stands twice, and for a column without one."""
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise DataError(f"column {number} has no name", file=file, line=1, hint="name it, or remove it")
        if name in seen:
            raise DataError(
                f"columns {seen[name]} and {number} are both named '{name}'", file=file, line=1, hint="rename one"
            )
        seen[name] = number
