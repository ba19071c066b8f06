"""Calls from a test file to the program that it tests, which runs in another process.

Values cross by value, as plain Python data; nothing of the program's behaviour crosses with them. An object of
a class that the program defines stays where it is, and the test holds a `Remote` in its place: attributes and
calls go to the program, but a `Remote` is never equal to plain data, whatever `__eq__` the program defines.

    request   {"op": "get" | "call" | "set" | "names", "h": handle, …}
    reply     {"value": …, "args": changed arguments} or {"raise": {…}} or {"callback": id, "args": […]}
"""

from __future__ import annotations

import builtins
import operator
import types
from collections.abc import Callable
from typing import Any

from rft_grader_python.sandbox.values import Decoder, Encoder
from rft_grader_python.sandbox.wire import packed, read_object, write_all

SOLUTION = 0
"""The handle of the program's module."""

_OPERATORS: dict[str, Callable[..., Any]] = {
    "len": len,
    "iter": iter,
    "next": next,
    "str": str,
    "repr": repr,
    "bool": bool,
    "int": int,
    "float": float,
    "abs": abs,
    "hash": hash,
    "format": format,
    "isinstance": isinstance,
    **{
        name: getattr(operator, name)
        for name in [
            "eq",
            "ne",
            "lt",
            "le",
            "gt",
            "ge",
            "add",
            "sub",
            "mul",
            "truediv",
            "floordiv",
            "mod",
            "pow",
            "and_",
            "or_",
            "xor",
            "neg",
            "contains",
            "getitem",
            "setitem",
            "delitem",
        ]
    },
}


class Server:
    """In the program's process. Whatever it answers counts as the program's answer."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._objects: list[Any] = [None]
        self._encoder = Encoder(self._handle)
        self._decoder = Decoder(self._objects.__getitem__, callback=self._callback)

    def serve(self, module: types.ModuleType) -> None:
        """Answer until the tests' side closes."""
        self._objects[SOLUTION] = module
        self._reply({"value": None})
        while True:
            try:
                request = read_object(self._fd)
            except EOFError:
                return
            try:
                reply = self._answer(request)
            except BaseException as error:  # noqa: BLE001  # the program's errors are raised in the tests
                reply = {"raise": self._raised(error)}
            self._reply(reply)

    def refuse(self, error: BaseException) -> None:
        """The program cannot be loaded."""
        self._reply({"raise": self._raised(error), "refused": True})

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        target = self._objects[request["h"]]
        kind = request["op"]
        if kind == "get":
            return {"value": self._encoder.encode(getattr(target, request["name"]))}
        if kind == "set":
            setattr(target, request["name"], self._decoder.decode(request["value"]))
            return {"value": None}
        if kind == "names":
            listed = getattr(target, "__all__", None) or [n for n in vars(target) if not n.startswith("_")]
            return {"value": self._encoder.encode([str(n) for n in listed])}
        args = [self._decoder.decode(a) for a in request["args"]]
        kwargs = {k: self._decoder.decode(v) for k, v in request["kwargs"].items()}
        function = target if kind == "call" else _OPERATORS[kind]
        value = self._encoder.encode(function(*args, **kwargs) if kind == "call" else function(target, *args))
        after = [self._encoder.encode(a) if type(a) in (list, dict, set, bytearray) else None for a in args]
        changed = [new if new != old else None for new, old in zip(after, request["args"], strict=True)]
        return {"value": value, "args": changed}

    def _handle(self, value: object) -> dict[str, Any]:
        self._objects.append(value)
        found: dict[str, Any] = {"h": len(self._objects) - 1, "name": type(value).__name__}
        if isinstance(value, type):
            found["class"] = value.__name__
            if issubclass(value, BaseException):
                found["error"] = _builtin_base(value)
        return found

    def _callback(self, number: int) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self._reply({"callback": number, "args": [self._encoder.encode(a) for a in args]})
            answer = read_object(self._fd)
            if "raise" in answer:
                raise getattr(builtins, answer["raise"]["base"])(answer["raise"]["message"])
            return self._decoder.decode(answer["value"])

        return call

    def _raised(self, error: BaseException) -> dict[str, Any]:
        kind = type(error)
        found: dict[str, Any] = {"base": _builtin_base(kind), "name": kind.__name__, "message": str(error)[:1000]}
        if getattr(builtins, kind.__name__, None) is not kind:
            found["class"] = self._handle(kind)
        return found

    def _reply(self, reply: dict[str, Any]) -> None:
        write_all(self._fd, packed(reply))


def _builtin_base(kind: type) -> str:
    names: list[str] = [k.__name__ for k in kind.__mro__ if getattr(builtins, k.__name__, None) is k]
    return names[0]
