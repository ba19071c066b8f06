"""The one error tree.

Every error says what failed, on which object, and what to do. Who handles what:

* the CLI prints any `RftError` as one sentence and exits with `exit_code`;
* the loop catches `WorkerError` (a call did not happen: it is done again elsewhere) and nothing else;
* everything else that goes wrong in a component is classified at the boundary of the process that
  hosts it (`rft_core.boundary`).

Attributes of an error are declared with their type: those, and no others, cross the wire.

`reason` is the stable name of an error on the wire and in JSON output.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RftError(Exception):
    """Base of all errors that rft-engine raises on purpose."""

    reason = "ERROR"
    exit_code = 1


class ConfigError(RftError, ValueError):
    """The run file, an option or a component's settings are wrong. `where` is the key path."""

    reason = "CONFIG_INVALID"
    exit_code = 2
    problem: str = ""
    where: str | None = None

    def __init__(self, message: str, *, where: str | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.problem, self.where = message, where

    def below(self, where: str) -> ConfigError:
        """The same error, said of a key path below another."""
        if not where:
            return self
        return ConfigError(self.problem, where=f"{where}: {self.where}" if self.where else where)


class UnknownNameError(ConfigError, LookupError):
    """A name that nothing is registered under. `instead` says what to write, where the nearest name is not meant."""

    reason = "UNKNOWN_NAME"

    def __init__(
        self,
        what: str,
        name: str,
        choices: Iterable[str],
        *,
        where: str | None = None,
        hint: str = "",
        instead: str | None = None,
    ) -> None:
        tail = f"; {instead}" if instead else nearest(name, choices)
        super().__init__(f"there is no {what} named '{name}'{tail}{hint}", where=where)


class PluginError(RftError, ImportError):
    """A plugin that the run names cannot be used."""

    reason = "PLUGIN_UNUSABLE"
    exit_code = 2


class DataError(RftError, ValueError):
    """A data file cannot be read as rows, or a row not be used. Says where: file, line and column (from 1) as far as
    they are known. A sampler, which knows no file, gives the `ordinal` of the prompt, and the engine names the row."""

    reason = "DATA_INVALID"
    exit_code = 2
    problem: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    ordinal: int | None = None

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
        ordinal: int | None = None,
    ) -> None:
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place + ': ' if place else ''}{message}{'; ' + hint if hint else ''}")
        self.problem, self.file, self.line, self.column, self.hint = message, file, line, column, hint
        self.ordinal = ordinal

    def located(self, file: str, line: int | None) -> DataError:
        """The same error, said of a line of a file."""
        return DataError(self.problem, file=file, line=line, column=self.column, hint=self.hint)


class MissingVariableError(RftError, LookupError):
    """A template names a variable that the row or the sample does not have. `variable` is its full name."""

    reason = "INVALID_VARIABLE"
    variable: str = ""

    def __init__(self, message: str, *, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


class ModelError(RftError, OSError):
    """A model folder is missing, incomplete, or holds what we do not load."""

    reason = "MODEL_UNUSABLE"
    exit_code = 2


class RunDirError(RftError, OSError):
    """A run directory is in use, missing, or not one of ours."""

    reason = "RUN_DIR_UNUSABLE"
    exit_code = 2


class StorageError(RftError, OSError):
    """Writing or reading a run's files failed: full disk, read-only disk, missing file."""

    reason = "STORAGE_FAILED"
    exit_code = 4


class IntegrityError(RftError, ValueError):
    """Stored bytes are not what was written, or a repeated computation gave other bits."""

    reason = "INTEGRITY_BROKEN"
    exit_code = 4


class WorkerError(RftError, ConnectionError):
    """A call to a worker did not happen, or did not end: it may be done again."""

    reason = "WORKER_UNAVAILABLE"
    exit_code = 3


class WorkerRefusedError(WorkerError):
    """The worker answered, and the answer is final: wrong token, protocol, component or weights."""

    reason = "WORKER_REFUSED"


class PolicyNotLoadedError(WorkerRefusedError):
    """The unit names another policy version than the sampler serves: load it and ask again."""

    reason = "POLICY_NOT_LOADED"


class NotConfiguredError(WorkerRefusedError):
    """The worker does not hold this run's component, because it was restarted or made room: configure it again."""

    reason = "WORKER_NOT_CONFIGURED"


class WorkerBusyError(WorkerError):
    """The worker's queue is full: ask again after `retry_after_s`."""

    reason = "WORKER_BUSY"
    retry_after_s: float = 0.05

    def __init__(self, message: str, *, retry_after_s: float = 0.05) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BadReplyError(RftError, ValueError):
    """A component's answer does not fit its request: too few, NaN, unknown ids, wrong version."""

    reason = "BAD_REPLY"
    exit_code = 3


class ComponentError(RftError, RuntimeError):
    """A component raised. The message names the component and the exception."""

    reason = "COMPONENT_FAILED"
    exit_code = 3


class NumericsError(RftError, FloatingPointError):
    """An update that was not made, as its numbers are unsound: not finite, or sampler and trainer too far apart."""

    reason = "NUMERICS_UNSOUND"
    exit_code = 3


class TooManyErrorsError(RftError, RuntimeError):
    """More grades failed than the run allows."""

    reason = "TOO_MANY_GRADER_ERRORS"
    exit_code = 3


class StopRequested(RftError):
    """A polite stop: a signal, or a budget that is used up. Not a failure."""

    reason = "STOP_REQUESTED"
    exit_code = 130


def nearest(name: str, choices: Iterable[str]) -> str:
    """The tail of an error sentence: the nearest valid name, or all of them if none is near."""
    options = sorted(choices)
    close = difflib.get_close_matches(name, options, n=5, cutoff=0.6)
    if close:
        swapped = [option for option in close if sorted(option) == sorted(name)]  # gpro is grpo, not gspo
        return f"; did you mean '{(swapped or close)[0]}'?"
    if not options:
        return "; none is installed"
    return f"; choose from {', '.join(options)}"


def error_classes() -> dict[str, type[RftError]]:
    """All error classes by `reason`: the catalogue that the wire and the docs are checked against."""
    found: dict[str, type[RftError]] = {}
    pending: list[type[RftError]] = [RftError]
    while pending:
        cls = pending.pop()
        found[cls.reason] = cls
        pending.extend(cls.__subclasses__())
    return found
