"""Jobs that run a program which a model wrote. They have no way to say how it went: others look."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import traceback
import types

from rft_grader_python.sandbox import rpc
from rft_grader_python.sandbox.wire import read_object

FILE = "solution.py"


def run(channel: int, stdin: int, stdout: int, stderr: int) -> int:
    """Run the program of the channel as `__main__`, like the interpreter does. Returns its exit status."""
    program = _receive(channel)
    for number, fd in enumerate((stdin, stdout, stderr)):
        os.dup2(fd, number)
        os.close(fd)
    _standard_streams()
    sys.argv = [FILE]
    status = 0
    try:
        _execute(program, "__main__")
    except SystemExit as end:
        status = _status(end)
    except BaseException as error:  # noqa: BLE001  # the program's failure is its own
        _print_error(error)
        status = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does at its end
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001
        status = status or 1
    return status


def offer(channel: int, peer: int) -> int:
    """Load the program of the channel as the module `solution`, and answer calls of it until nobody asks."""
    program = _receive(channel)
    _standard_streams()
    server = rpc.Server(peer)
    try:
        module = _execute(program, "solution")
    except BaseException as error:  # noqa: BLE001  # told to the tests, which fail
        server.refuse(error)
        return 1
    server.serve(module)
    return 0


def _receive(channel: int) -> str:
    program: str = read_object(channel)["program"]
    os.close(channel)
    return program


def _execute(program: str, name: str) -> types.ModuleType:
    with open(FILE, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(program)
    module = types.ModuleType(name)
    module.__file__ = os.path.abspath(FILE)
    sys.modules[name] = module
    exec(compile(program, FILE, "exec"), vars(module))  # noqa: S102  # the sandbox exists for this
    return module


def _print_error(error: BaseException) -> None:
    """As the interpreter does, without the frames of this file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def _standard_streams() -> None:
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115


def _status(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1
