"""The frozen parent: isolates itself, does the imports, loads the source, then forks once a job.

It reads requests and file descriptors, never a sample: those go from the host to the fork. So no sample
can leave anything behind for the next one.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import linecache
import os
import random
import selectors
import signal
import socket
import sys
import time
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rft_grader_python.sandbox import (
    landlock,
    linux,
    outer,
    paths,
    probe,
    run_grade,
    run_program,
    run_tests,
    usage,
    wire,
)
from rft_grader_python.sandbox.cage import Cage
from rft_grader_python.sandbox.setup import Setup

WATCH_S = 0.05
"""How often the memory and disk of a job are looked at."""
KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The environment of a job, set by the host: nothing of its own."""


@dataclass
class Job:
    pid: int
    pidfd: int
    report: socket.socket
    folder: str | None
    group: bool
    """Whether the job is found by its process group, because nothing else isolates it."""
    shown_pid: int | None
    """Its number in /proc, which belongs to another namespace; None where children are not possible."""
    why: str = ""


def main(control_fd: int) -> None:
    """Entry point of the process. Says on the control socket whether it is ready, or what failed."""
    control = socket.socket(fileno=control_fd)
    setup = Setup.from_json(sys.stdin.read())
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    if setup.tier != "none":
        for name in set(os.environ) - set(KEPT_VARIABLES):
            del os.environ[name]
    try:
        zygote = Zygote(setup, control)
    except OSError as error:
        wire.send_request(control, {"failed": "tier", "message": f"{error.strerror or error}"}, [])
        return
    wire.send_request(control, {"isolated": True}, [])
    try:
        function = load(setup.imports, setup.source)
    except BaseException as error:  # noqa: BLE001  # user code: the host raises a sentence
        wire.send_request(control, {"failed": "source", "message": run_grade.describe(error)}, [])
        return
    gc.collect()
    gc.freeze()
    wire.send_request(control, {"ready": True, "facts": zygote.facts()}, [])
    zygote.serve(function)


def load(imports: tuple[str, ...], source: str | None) -> run_grade.Function | None:
    """Import the modules there are, run the source as a module, and return its `grade`."""
    for name in imports:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001  # the source may never get there, and says so if it does
            continue
    random.seed(0)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)
    if source is None:
        return None
    module = types.ModuleType("grader")
    module.__file__ = run_grade.FILE
    sys.modules["grader"] = module  # dataclasses and typing look their module up by name
    linecache.cache[run_grade.FILE] = (len(source), None, source.splitlines(keepends=True), run_grade.FILE)
    exec(compile(source, run_grade.FILE, "exec"), vars(module))  # noqa: S102  # the sandbox exists for this
    function: run_grade.Function = module.grade
    return function


class Zygote:
    """Isolates the process when it is made; OSError where the machine does not allow it."""

    def __init__(self, setup: Setup, control: socket.socket) -> None:
        self._setup = setup
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._jobs: dict[int, Job] = {}
        self._count = 0
        self._proc_fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
        self._own_pids: int | None = None
        if setup.tier == "none":
            os.chdir(setup.scratch)
        self._cage = None if setup.tier == "none" else self._isolate()

    def facts(self) -> dict[str, str]:
        """What isolates the jobs, for the record of the run."""
        if self._cage is None:
            return {"sandbox": "none"}
        return {
            "sandbox": self._setup.tier,
            "landlock": str(self._cage.landlock_abi) if self._cage.landlock_abi else "no",
            "private_mounts": "yes" if self._cage.nested else "no",
            "child_processes": "yes" if self._cage.processes else "no",
        }

    def serve(self, function: run_grade.Function | None) -> None:
        """Handle requests until the host closes the control socket."""
        self._function = function
        self._random = random.getstate()
        self._selector.register(self._control, selectors.EVENT_READ)
        looked_s = 0.0
        while True:
            for key, _ in self._selector.select(WATCH_S if self._jobs else None):
                if key.fileobj is self._control:
                    request = wire.receive_request(self._control)
                    if request is None:
                        return self._end()
                    self._start(*request)
                elif isinstance(key.data, Job):
                    self._event(key.fd, key.data)
            if self._cage and time.monotonic() - looked_s > WATCH_S:
                looked_s = time.monotonic()
                self._watch()

    def _isolate(self) -> Cage:
        tier, user = self._setup.tier, None
        visible = paths.readable()
        if tier in ("bubblewrap", "namespaces"):
            try:
                inner = outer.enter(self._proc_fd)
            except OSError:
                if tier == "namespaces":
                    raise
                inner = -1  # bubblewrap alone: it may be allowed namespaces that its children are not
            if tier == "namespaces":
                outer.build_root(visible)
            if inner >= 0:
                self._own_pids = os.open("self/ns/pid", os.O_RDONLY, dir_fd=self._proc_fd)
                user = inner or None
        nested = self._own_pids is not None
        cage = self._checked_cage(tuple(visible), nested=nested, user=user)
        if not nested:  # for what the source does when it is loaded
            linux.no_new_privileges()
            writable = (self._setup.scratch, paths.PRIVATE) if tier == "bubblewrap" else (self._setup.scratch,)
            landlock.restrict(cage.landlock_abi, read=visible, write=(*writable, *paths.DEVICES))
        return cage

    def _checked_cage(self, visible: tuple[str, ...], *, nested: bool, user: int | None) -> Cage:
        """The cage that a trial job proves to hold."""
        # The kernel exempts root outside from limits on processes, whatever it is called inside.
        limited = nested and (user is not None or not self._setup.root)
        processes = limited and usage.children_are_listed(self._proc_fd)
        cage = Cage.make(
            self._setup.limits,
            proc_fd=self._proc_fd,
            nested=nested,
            user=user,
            processes=processes,
            visible=visible,
        )
        if not nested and cage.landlock_abi < probe.LANDLOCK_NEEDED:
            raise OSError(0, f"Landlock {cage.landlock_abi}, where {probe.LANDLOCK_NEEDED} is needed")
        read_end, write_end = os.pipe()
        self._cage = cage
        pid = self._fork()
        if pid == 0:
            probe.run(cage, self._new_folder(), write_end)
        os.close(write_end)
        with open(read_end, "rb") as pipe:
            found = pipe.read(1000).decode(errors="replace")
        os.waitpid(pid, 0)
        if found != probe.HOLDS:
            raise OSError(0, found or "the trial job died")
        return cage

    def _new_folder(self) -> str | None:
        """A private folder for the next job, where it gets no mount of its own."""
        if self._cage and self._cage.nested:
            return None
        self._count += 1
        folder = os.path.join(self._setup.scratch or paths.PRIVATE, f"job-{self._count}")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return folder

    def _fork(self) -> int:
        if self._own_pids is None:
            return os.fork()
        linux.unshare(linux.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            linux.setns(self._own_pids, linux.CLONE_NEWPID)
        return pid

    def _start(self, request: Mapping[str, Any], fds: list[int]) -> None:
        report, *rest = fds
        kind = str(request["kind"])
        if self._cage is None and kind == "grade" and self._function is not None:
            self._run_here(report, rest[0])
            return
        folder = self._new_folder()
        pid = self._fork()
        if pid == 0:
            self._run(kind, rest, folder)
        shown = usage.newest_child(self._proc_fd, self._shown()) if self._cage and self._cage.processes else None
        job = Job(pid, os.pidfd_open(pid), socket.socket(fileno=report), folder, self._cage is None, shown)
        for fd in rest:
            os.close(fd)
        self._jobs[pid] = job
        self._selector.register(job.pidfd, selectors.EVENT_READ, job)
        self._selector.register(job.report, selectors.EVENT_READ, job)

    def _run(self, kind: str, fds: list[int], folder: str | None) -> None:
        """The fork: never returns."""
        status = 1
        try:
            for fd in fds:
                os.set_inheritable(fd, False)  # for what the job executes
            for signum in (signal.SIGINT, signal.SIGPIPE):
                signal.signal(signum, signal.SIG_DFL if signum == signal.SIGINT else signal.SIG_IGN)
            if self._cage is None:
                linux.close_all_but({0, 1, 2, *fds})
                os.setsid()
                os.chdir(folder or "/")
            else:
                if not self._cage.nested:
                    linux.die_with_parent()
                self._cage.lock({0, 1, 2, *fds}, folder)
            if folder:
                os.environ["HOME"] = os.environ["TMPDIR"] = folder
            random.setstate(self._random)  # a fork seeds it anew, and the same sample deserves the same grade
            os.write(fds[0], wire.CAGED)
            status = self._body(kind, fds)
        finally:
            os._exit(status)

    def _body(self, kind: str, fds: list[int]) -> int:
        if kind == "grade":
            assert self._function is not None
            own_thread = "signal" not in self._setup.imports
            run_grade.serve(fds[0], self._function, own_thread=own_thread)
            return 0
        if kind == "program":
            return run_program.run(*fds)
        if kind == "solution":
            return run_program.offer(*fds)
        run_grade.serve(fds[0], run_tests.runner(fds[1]), own_thread=True)
        return 0

    def _run_here(self, report: int, channel: int) -> None:
        """`sandbox: none`: the function is called in this process, as `python_file` does."""
        assert self._function is not None
        with socket.socket(fileno=report):
            # An OSError is a host that gave up.
            with contextlib.suppress(OSError, EOFError):
                os.write(channel, wire.CAGED)
                run_grade.serve(channel, self._function, own_thread=False)
            os.close(channel)

    def _event(self, fd: int, job: Job) -> None:
        if job.pid not in self._jobs:
            return
        if fd != job.pidfd:
            self._selector.unregister(job.report)  # the host closed it: the job is not wanted any more
            self._kill(job, "given up")
            return
        _, status = os.waitpid(job.pid, 0)
        if job.group:
            _kill_group(job.pid)
        del self._jobs[job.pid]
        self._selector.unregister(job.pidfd)
        os.close(job.pidfd)
        if job.report in self._selector.get_map():
            self._selector.unregister(job.report)
        if job.folder:
            usage.remove(job.folder)
        with contextlib.suppress(OSError):  # a host that is not interested any more
            wire.send_request(job.report, {"status": os.waitstatus_to_exitcode(status), "why": job.why}, [])
        job.report.close()

    def _kill(self, job: Job, why: str) -> None:
        job.why = job.why or why
        if job.group:
            _kill_group(job.pid)
        os.kill(job.pid, signal.SIGKILL)  # not waited for yet, so the number is its own

    def _watch(self) -> None:
        """Kill jobs that hold more than their limits, children and files together."""
        limits = self._setup.limits
        for job in self._jobs.values():
            if job.shown_pid and usage.memory_bytes(self._proc_fd, job.shown_pid) > limits.memory_bytes:
                self._kill(job, "memory")
            if job.folder and usage.disk_bytes(job.folder) > limits.disk_bytes:
                self._kill(job, "disk")

    def _shown(self) -> set[int]:
        return {job.shown_pid for job in self._jobs.values() if job.shown_pid}

    def _end(self) -> None:
        for job in self._jobs.values():
            self._kill(job, "given up")
            if job.folder:
                os.waitpid(job.pid, 0)
                usage.remove(job.folder)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in it
        os.killpg(pid, signal.SIGKILL)
