"""The namespaces that a zygote and all its forks live in: no network, a root of their own, nobody else's processes.

The root is a read-only tmpfs with read-only copies of the mounts of `paths.readable()`. /proc and /sys are
not in it, and neither are /home, /root, /run, /var and the folder of the run.

Source: https://man7.org/linux/man-pages/man7/user_namespaces.7.html
"""

from __future__ import annotations

import os
import socket

from rft_grader_python.sandbox import linux, paths

NAMESPACES = (
    linux.CLONE_NEWUSER
    | linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)
INNER_USER = 1000
_NOBODY = 65_534
_PASSWD = f"user:x:{INNER_USER}:{INNER_USER}::{paths.PRIVATE}:/bin/sh\n"


def enter(proc_fd: int) -> int:
    """Go on as the first process of new namespaces. OSError where this machine does not allow it.

    Returns the uid that jobs get: where root starts it, one that is nobody outside; else this user's own.
    The process that called stays behind and ends with the new one.
    """
    as_root = os.geteuid() == 0 and _knows_nobody(proc_fd)
    if as_root:
        _unshare_as_root()
    else:
        uid, gid = os.geteuid(), os.getegid()
        linux.unshare(NAMESPACES)
        map_user(proc_fd, 0, uid, gid)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    linux.die_with_parent()
    socket.sethostname("sandbox")
    return INNER_USER if as_root else 0


def _knows_nobody(proc_fd: int) -> bool:
    """Whether this namespace has another user to give to jobs. Inside bubblewrap it has not."""
    fd = os.open("self/uid_map", os.O_RDONLY, dir_fd=proc_fd)
    with open(fd) as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return any(first <= _NOBODY < first + count for first, _, count in ranges)


def map_user(proc_fd: int, inner: int, uid: int, gid: int) -> None:
    """Map one user and group of the parent namespace into the namespace that this process is in."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inner} {uid} 1"), ("gid_map", f"{inner} {gid} 1")):
        fd = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc_fd)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def _unshare_as_root() -> None:
    """Root may map several users, but only from the namespace outside: a helper process does it."""
    process = os.getpid()
    ready_read, ready_write = os.pipe()
    helper = os.fork()
    if helper == 0:
        status = 1
        try:
            os.close(ready_write)
            if os.read(ready_read, 1):
                for name in ("uid_map", "gid_map"):
                    fd = os.open(f"/proc/{process}/{name}", os.O_WRONLY)
                    os.write(fd, f"0 0 1\n{INNER_USER} {_NOBODY} 1".encode())
                status = 0
        finally:
            os._exit(status)
    os.close(ready_read)
    try:
        linux.unshare(NAMESPACES)
        os.write(ready_write, b"1")
    finally:
        os.close(ready_write)
        _, status = os.waitpid(helper, 0)
    if status != 0:
        raise OSError(1, "the user map was refused")


def build_root(visible: list[str]) -> None:
    """Replace the root of this mount namespace."""
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    # Looked at before the new root hides what lies beneath its own folder.
    links = {path: os.readlink(path) for path in visible if os.path.islink(path)}
    devices = [path for path in paths.DEVICES if os.path.exists(path)]
    trees = [(path, os.path.isdir(path), linux.clone_tree(path)) for path in (*visible, *devices) if path not in links]
    new = paths.PRIVATE
    linux.mount("sandbox", new, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")
    for path, is_folder, tree in trees:
        if path not in devices:
            linux.restrict_tree(tree, linux.ATTR_RDONLY | linux.ATTR_NOSUID | linux.ATTR_NODEV)
        _place(tree, new + path, is_folder=is_folder)
    for path, target in links.items():
        os.makedirs(new + os.path.dirname(path), exist_ok=True)
        os.symlink(target, new + path)
    os.makedirs(new + paths.PRIVATE, exist_ok=True)
    os.symlink(paths.PRIVATE, f"{new}/dev/shm")
    os.makedirs(f"{new}/etc", exist_ok=True)
    with open(f"{new}/etc/passwd", "w") as file:
        file.write(_PASSWD)
    os.chdir(new)
    linux.pivot_root(".", ".")
    linux.umount(".", linux.MNT_DETACH)
    os.chdir("/")
    linux.restrict_mount("/", linux.ATTR_RDONLY)


def _place(tree: int, target: str, *, is_folder: bool) -> None:
    os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)
    if not is_folder:
        with open(target, "w"):
            pass
    linux.attach_tree(tree, target)
    os.close(tree)
