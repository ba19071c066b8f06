"""Starts a zygote, in the strongest tier that this machine gives."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rft_core.errors import ConfigError
from rft_grader_python.sandbox import linux, paths, wire
from rft_grader_python.sandbox.setup import TIERS, Setup

START_S = 180.0
"""Longest that the imports and the source may take."""
INSTALL = (
    "install bubblewrap (Debian, Ubuntu: apt install bubblewrap), allow unprivileged user namespaces, or use a kernel "
    "from 6.2 on with Landlock; to run the code without any isolation write sandbox: none"
)
_PACKAGE = Path(__file__).parent.parent
_BOOT = """
import sys, types
package = types.ModuleType("rft_grader_python")
package.__path__ = [sys.argv[1]]
sys.modules["rft_grader_python"] = package
from rft_grader_python.sandbox.zygote import main
main(int(sys.argv[2]))
"""
_PASSED_ON = ("LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": paths.PRIVATE,
    "TMPDIR": paths.PRIVATE,
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class TierUnavailableError(Exception):
    """This machine does not give the tier. The message says what it answered."""


class Zygote:
    """A running zygote. `request` may be called from several threads."""

    def __init__(self, setup: Setup) -> None:
        """TierUnavailableError if its tier does not work here, ConfigError if the source raises."""
        self._scratch = tempfile.mkdtemp(prefix="rft-sandbox-")
        # Also when nobody closes it. The process ends by itself when this end of the control socket is closed.
        self._cleared = weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        setup = replace(setup, scratch=self._scratch, root=os.geteuid() == 0)
        try:
            with theirs:
                self._process = _spawn(setup, theirs.fileno())
        except OSError as error:
            self._control.close()
            self._cleared()
            raise TierUnavailableError(str(error)) from None
        try:
            self.facts: dict[str, str] = self._ready()
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def request(self, kind: str, fds: Sequence[int]) -> socket.socket:
        """Fork for a job. The socket tells how it ends; closing it kills the job. OSError if the zygote is gone."""
        report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                wire.send_request(self._control, {"kind": kind}, [theirs.fileno(), *fds])
            except OSError:
                report.close()
                raise
        return report

    def close(self, *, now: bool = False) -> None:
        """End it and all its jobs."""
        self._control.close()
        try:
            self._process.wait(0 if now else 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._cleared()

    def _ready(self) -> dict[str, str]:
        isolated = self._answer()
        if "isolated" not in isolated:
            raise TierUnavailableError(isolated.get("message") or self._silence())
        loaded = self._answer()
        if "facts" not in loaded:
            raise ConfigError(f"the source cannot be loaded: {loaded.get('message') or self._silence()}")
        return dict(loaded["facts"])

    def _answer(self) -> dict[str, Any]:
        """The next word of the process; nothing if it died or takes too long."""
        if not select.select([self._control], [], [], START_S)[0]:
            return {"message": f"it took longer than {START_S:g} s"}
        try:
            answer = wire.receive_request(self._control)
        except OSError:
            answer = None
        return answer[0] if answer else {}

    def _silence(self) -> str:
        return f"its process died with status {self._process.wait()}"


def start(setup: Setup) -> Zygote:
    """A zygote in the tier of `setup`; with `auto` in the first that works. ConfigError if none does."""
    if setup.tier == "none":
        return Zygote(setup)
    answers = []
    for tier in _in_order() if setup.tier == "auto" else [setup.tier]:
        try:
            zygote = Zygote(replace(setup, tier=tier))
        except TierUnavailableError as error:
            answers.append(f"{tier}: {error}")
            continue
        if setup.tier == "auto":
            _Known.tier = tier
        return zygote
    raise ConfigError(
        f"this machine cannot isolate the code that the grader runs ({'; '.join(answers) or 'it is not Linux'}); {INSTALL}"
    )


class _Known:
    """The tier that worked before in this process, tried first; a stronger one does not appear meanwhile."""

    tier: str | None = None


def _in_order() -> list[str]:
    if not linux.SUPPORTED:
        return []
    return [_Known.tier] if _Known.tier else list(TIERS)


def _spawn(setup: Setup, control: int) -> subprocess.Popen[bytes]:
    python = [sys.executable, "-s", "-P", "-B", "-X", "utf8", "-c", _BOOT, str(_PACKAGE), str(control)]
    command = [*_bubblewrap(), *python] if setup.tier == "bubblewrap" else python
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment = {**os.environ, **_ENVIRONMENT} if setup.tier == "none" else {**passed, **_ENVIRONMENT}
    with tempfile.TemporaryFile() as file:
        file.write(setup.to_json().encode())
        file.seek(0)
        return subprocess.Popen(
            command,
            stdin=file,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            pass_fds=(control,),
            start_new_session=True,
        )


def _bubblewrap() -> list[str]:
    found = shutil.which("bwrap")
    if found is None:
        raise TierUnavailableError("bwrap is not installed")
    command = [found, "--die-with-parent", "--unshare-all", "--hostname", "sandbox", "--tmpfs", paths.PRIVATE]
    for path in [*paths.readable(), str(_PACKAGE)]:
        if os.path.islink(path):
            command += ["--symlink", str(Path(path).readlink()), path]
        else:
            command += ["--ro-bind", path, path]
    for device in paths.DEVICES:
        command += ["--dev-bind", device, device]
    return [*command, "--symlink", paths.PRIVATE, "/dev/shm", "--proc", "/proc", "--remount-ro", "/", "--chdir", "/"]
