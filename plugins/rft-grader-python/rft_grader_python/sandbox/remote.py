"""The tests' side of `rpc`: stand-ins for the program and its objects, in a process that never runs the program."""

from __future__ import annotations

import builtins
import json
import operator
import os
import select
import struct
import time
import types
from collections.abc import Callable, Mapping
from typing import Any

from rft_grader_python.sandbox.rpc import SOLUTION
from rft_grader_python.sandbox.values import Decoder, Encoder
from rft_grader_python.sandbox.wire import packed, write_all

MAX_REPLY = 16 << 20
_NOTHING = object()
_LENGTH = struct.Struct("=Q")


class SolutionDied(Exception):
    """The program ended, hung or answered nonsense: what the tests ask after that fails too."""


class Link:
    """The connection to the program's process. What went wrong with it is counted in `flags`."""

    def __init__(self, fd: int, time_s: float) -> None:
        self.fd = fd
        self.deadline_s = time.monotonic() + time_s
        self.flags: dict[str, int] = {}
        self._dead = ""
        self._callbacks: list[Callable[..., Any]] = []
        self._encoder = Encoder(self._handle)
        self._decoder = Decoder(self._object)
        self._errors: dict[int, type[BaseException]] = {}

    def flag(self, name: str) -> None:
        self.flags[name] = self.flags.get(name, 0) + 1

    def start(self) -> None:
        """Wait until the program is loaded. Raises what it raised."""
        self._value(self._receive())

    def get(self, handle: int, name: str) -> Any:
        return self._ask({"op": "get", "h": handle, "name": name})

    def set(self, handle: int, name: str, value: Any) -> None:
        self._ask({"op": "set", "h": handle, "name": name, "value": self._encoder.encode(value)})

    def names(self) -> list[str]:
        return list(self._ask({"op": "names", "h": SOLUTION}))

    def call(self, kind: str, handle: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call an object, or apply an operator to it. Lists, dicts and sets that the call changed are changed here."""
        self._callbacks = []
        encoded = [self._encoder.encode(a) for a in args]
        request = {
            "op": kind,
            "h": handle,
            "args": encoded,
            "kwargs": {k: self._encoder.encode(v) for k, v in kwargs.items()},
        }
        reply = self._exchange(request)
        for argument, new in zip(args, reply.get("args") or (), strict=False):
            if new is not None:
                _replace(argument, self._decoder.decode(new))
        return self._value(reply)

    def _ask(self, request: dict[str, Any]) -> Any:
        return self._value(self._exchange(request))

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        self._send(request)
        while "callback" in (reply := self._receive()):
            try:
                args = [self._decoder.decode(a) for a in reply["args"]]
                self._send({"value": self._encoder.encode(self._callbacks[reply["callback"]](*args))})
            except Exception as error:  # noqa: BLE001  # raised where the program called
                base = next(k.__name__ for k in type(error).__mro__ if getattr(builtins, k.__name__, None) is k)
                self._send({"raise": {"base": base, "message": str(error)}})
        return reply

    def _value(self, reply: dict[str, Any]) -> Any:
        try:
            if "raise" in reply:
                raised = reply["raise"]
                kind = self._error(raised["class"]) if "class" in raised else _builtin_error(raised["base"])
                message = str(raised["message"])
            else:
                return self._decoder.decode(reply["value"])
        except SolutionDied:
            raise
        except Exception as error:  # noqa: BLE001  # the program may answer anything
            raise self._died("broken_replies", f"the program's answer cannot be read: {type(error).__name__}") from None
        raise kind(message)

    def _send(self, message: dict[str, Any]) -> None:
        if self._dead:
            raise SolutionDied(self._dead)
        try:
            write_all(self.fd, packed(message))
        except OSError:
            raise self._died("early_exits", "the program ended before the tests did") from None

    def _receive(self) -> dict[str, Any]:
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > MAX_REPLY:
            raise self._died("broken_replies", f"the program answered with {length} bytes")
        try:
            reply = json.loads(self._read(length))
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            raise self._died("broken_replies", "the program's answer is not one")
        return reply

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            left_s = self.deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self.fd], [], [], left_s)[0]:
                raise self._died("time_outs", "the program did not answer in time")
            part = os.read(self.fd, min(size, 1 << 16))
            if not part:
                raise self._died("early_exits", "the program ended before the tests did")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _died(self, flag: str, why: str) -> SolutionDied:
        self._dead = self._dead or why
        self.flag(flag)
        return SolutionDied(why)

    def _handle(self, value: object) -> dict[str, Any]:
        if isinstance(value, Remote):
            return {"h": object.__getattribute__(value, "_handle")}
        if callable(value):
            self._callbacks.append(value)
            return {"callback": len(self._callbacks) - 1}
        raise TypeError(f"a {type(value).__name__} cannot be handed to the program; use plain data or a function")

    def _object(self, description: dict[str, Any]) -> Any:
        if "error" in description:
            return self._error(description)
        data = self._decoder.decode(description["data"]) if "data" in description else _NOTHING
        return Remote(self, int(description["h"]), data)

    def _error(self, description: dict[str, Any]) -> type[BaseException]:
        name, base = str(description["class"]), _builtin_error(description["error"])
        for known in self._errors.values():
            if known.__name__ == name and known.__bases__ == (base,):
                return known
        return self._errors.setdefault(int(description["h"]), type(name, (base,), {}))


class Remote:
    """An object of the program. All it has is asked for. It equals another object of the program if that says so,
    and plain data only by what it holds as the plain type that it extends."""

    def __init__(self, link: Link, handle: int, data: object) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_handle", handle)
        object.__setattr__(self, "_data", data)

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Remote
        if name.startswith("__") and name.endswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            return object.__getattribute__(self, name)
        return _link(self).get(object.__getattribute__(self, "_handle"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        _link(self).set(object.__getattribute__(self, "_handle"), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _link(self).call("call", object.__getattribute__(self, "_handle"), args, kwargs)

    def __eq__(self, other: object) -> bool:
        return _same(self, other, "eq", default=False)

    def __ne__(self, other: object) -> bool:
        return _same(self, other, "ne", default=True)

    def __instancecheck__(self, instance: object) -> bool:
        if not isinstance(instance, Remote):
            return False
        return bool(_link(self).call("isinstance", object.__getattribute__(instance, "_handle"), (self,), {}))

    def __iter__(self) -> Any:
        return _operate(self, "iter")

    def __next__(self) -> Any:
        return _operate(self, "next")

    def __enter__(self) -> Any:
        return _special(self, "__enter__")()

    def __exit__(self, *_: object) -> Any:
        return _special(self, "__exit__")(None, None, None)


def _link(remote: Remote) -> Link:
    link: Link = object.__getattribute__(remote, "_link")
    return link


def _special(remote: Remote, name: str) -> Any:
    return _link(remote).get(object.__getattribute__(remote, "_handle"), name)


def _operate(remote: Remote, kind: str, *args: Any) -> Any:
    return _link(remote).call(kind, object.__getattribute__(remote, "_handle"), args, {})


def _same(one: Remote, other: object, kind: str, *, default: bool) -> bool:
    if not isinstance(other, Remote):
        data = object.__getattribute__(one, "_data")
        if data is not _NOTHING:
            return bool(data == other) is not default
        _link(one).flag("objects_compared_with_data")
        return default
    return _operate(one, kind, other) is True


def _delegate(kind: str) -> Callable[..., Any]:
    """An operator that does not compare: asked of the program."""

    def method(self: Remote, *args: Any) -> Any:
        return _operate(self, kind, *args)

    return method


def _combine(kind: str, *, swapped: bool) -> Callable[..., Any]:
    """An operator of two values. What the program makes of a test's plain data must not be plain data: an object
    whose difference from everything is 0, or that is larger than everything, would know what is expected of it."""
    function = getattr(operator, kind)

    def method(self: Remote, other: Any) -> Any:
        if isinstance(other, Remote):
            return _operate(self, kind, other)
        data = object.__getattribute__(self, "_data")
        if data is not _NOTHING:
            return function(other, data) if swapped else function(data, other)
        if not swapped and kind not in _COMPARISONS:
            result = _operate(self, kind, other)
            if isinstance(result, Remote):
                return result
        _link(self).flag("objects_compared_with_data")
        raise TypeError(
            f"an object of the program cannot be compared with plain data ({kind}); test what its methods return"
        )

    return method


_COMPARISONS = ("lt", "le", "gt", "ge", "contains")
for _kind in [
    "len",
    "str",
    "repr",
    "bool",
    "int",
    "float",
    "abs",
    "hash",
    "format",
    "neg",
    "getitem",
    "setitem",
    "delitem",
]:
    setattr(Remote, f"__{_kind}__", _delegate(_kind))
for _kind in [*_COMPARISONS, *["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "xor", "and_", "or_"]]:
    setattr(Remote, f"__{_kind.rstrip('_')}__", _combine(_kind, swapped=False))
for _kind in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"]:
    setattr(Remote, f"__r{_kind}__", _combine(_kind, swapped=True))


class SolutionModule(types.ModuleType):
    """What `import solution` gives the tests."""

    def __init__(self, link: Link) -> None:
        super().__init__("solution")
        self.__dict__["_link"] = link
        self.__dict__["__file__"] = "solution.py"

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return self._link.names()
        if name.startswith("__"):
            raise AttributeError(name)
        return self._link.get(SOLUTION, name)


def _replace(argument: Any, new: Any) -> None:
    if type(argument) is not type(new):
        return
    argument.clear()
    (argument.extend if isinstance(argument, list | bytearray) else argument.update)(new)


def _builtin_error(name: str) -> type[BaseException]:
    kind = getattr(builtins, str(name), None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return SolutionDied  # SystemExit and its like would end the tests
    return kind
