"""Loads a function from a file of the user, and describes what goes wrong in it."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import itertools
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from rft_core.errors import ConfigError, nearest

_SHOWN_FRAMES = 3
_counter = itertools.count()


class _FromSource(SourceFileLoader):
    """Executes what the file says now. Python takes byte code for current by the second and size of the file's last
    change: a grader that is mended and resumed within one second would be the old one."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_function(base_dir: Path, file: str, function: str) -> Callable[..., Any]:
    """The function of that name. The file is executed anew, as a module under a name of its own; its
    folder joins the end of the module search path, so that it can import its neighbours.

    ConfigError if there is no such file or function, or the file cannot be executed.
    """
    path = (base_dir / file).resolve()
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise ConfigError(f"there is no file {path}{nearest(path.name, siblings) if siblings else ''}")
    if path.suffix != ".py":
        raise ConfigError(f"{path} is not a Python file")
    name = f"rft_python_file_{next(_counter)}_{path.stem}"
    loader = _FromSource(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    # Dataclasses and typing look their module up by name while it is executed.
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError(f"{path.name} cannot be loaded: {describe(error, path)}") from error
    found = getattr(module, function, None)
    if not callable(found):
        defined = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == name]
        raise ConfigError(
            f"{path.name} has no function '{function}'{nearest(function, defined) if defined else ', and no other one'}"
        )
    if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        raise ConfigError(f"{path.name}:{function} is asynchronous; write it as a plain function")
    return found  # type: ignore[no-any-return]  # callable, checked above


def require_arguments(function: Callable[..., Any], shown: str, *names: str) -> None:
    """ConfigError unless the function can be called with that many positional arguments."""
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        raise ConfigError(f"{shown} must take the arguments ({', '.join(names)}): {error}") from None
    except ValueError:
        return  # a builtin without a signature


def describe(error: BaseException, path: Path) -> str:
    """`grader.py line 3 in grade: ZeroDivisionError: division by zero`: the exception, and the last lines
    of the user's file that led to it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    places = [f"{path.name} line {f.lineno} in {f.name}" for f in frames[-_SHOWN_FRAMES:]]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        places.append(f"line {error.lineno}")
        return f"{' > '.join(places)}: {type(error).__name__}: {error.msg}"
    return f"{' > '.join(places)}{': ' if places else ''}{type(error).__name__}: {error}"


def source_fingerprint(base_dir: Path, file: str) -> str:
    """`sha256:…` of the file's bytes."""
    return f"sha256:{hashlib.sha256((base_dir / file).read_bytes()).hexdigest()}"
