"""What lies outside the sandbox, for the escape corpus to reach: real files, sockets, processes, shared memory."""

import ctypes
import http.server
import mmap
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

MEMORY_BYTES = 192 << 20
DISK_BYTES = 8 << 20
_VICTIM = "import ctypes, time; b = ctypes.create_string_buffer(b's3cret'); print(ctypes.addressof(b), flush=True); time.sleep(600)"


class _Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def outside(folder: Path) -> Iterator[dict[str, Any]]:
    """A world, until the end of the block."""
    home = Path.home() if Path.home().is_dir() else folder
    unique = f"rft-escape-{os.getpid()}"
    with ExitStack() as stack:
        world: dict[str, Any] = {
            "folder": str(folder),
            "file": str(folder / "secret"),
            "victim file": str(folder / "victim"),
            "home": str(home),
            "home entries": sorted(p.name for p in home.iterdir()),
            "host": socket.gethostname(),
            "host pid": os.getpid(),
            "library": os.__file__,
            "memory": MEMORY_BYTES,
            "disk": DISK_BYTES,
            "abstract": unique,
            "unix": str(folder / "s"),
            "datagram": str(folder / "d"),
            "shm": unique,
        }
        for name in ("secret", "victim", "delete", "rename"):
            (folder / name).write_text("s3cret")
        world |= _sockets(stack, world)
        shm = Path("/dev/shm") / unique
        shm.write_text("s3cret")
        stack.callback(shm.unlink)
        victim = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", _VICTIM], stdout=subprocess.PIPE, start_new_session=True)
        )
        stack.callback(victim.kill)
        assert victim.stdout is not None
        world |= {"victim": victim.pid, "address": int(victim.stdout.readline()), "segment": _segment(stack)}
        yield world


def _sockets(stack: ExitStack, world: dict[str, Any]) -> dict[str, int]:
    def bound(family: int, kind: int, address: Any) -> socket.socket:
        sock = stack.enter_context(socket.socket(family, kind))
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        return sock

    tcp = bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
    tcp6 = bound(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0))
    udp = bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
    bound(socket.AF_UNIX, socket.SOCK_STREAM, world["unix"])
    bound(socket.AF_UNIX, socket.SOCK_DGRAM, world["datagram"])
    bound(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + world["abstract"])
    bound(socket.AF_UNIX, socket.SOCK_DGRAM, "\0" + world["abstract"] + "d")
    server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.shutdown)
    ports = {"tcp": tcp, "tcp6": tcp6, "udp": udp, "http": server.socket}
    return {name: sock.getsockname()[1] for name, sock in ports.items()}


def _segment(stack: ExitStack) -> int:
    """A System V segment that begins with the secret."""
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    number = libc.shmget(0, mmap.PAGESIZE, 0o666 | 0o1000)
    ctypes.memmove(libc.shmat(number, None, 0), b"s3cret", 6)
    stack.callback(libc.shmctl, number, 0, None)
    return int(number)
