"""The cage of one job: what a fork does to itself before it reads the job, and cannot undo.

In this order, as far as the tier has it: a user of its own, mounts of its own with a private /tmp, file
descriptors, limits, Landlock, no capabilities, the system call filter.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from rft_grader_python.sandbox import landlock, linux, outer, paths, seccomp
from rft_grader_python.sandbox.setup import Limits


@dataclass(frozen=True, kw_only=True)
class Cage:
    """Made once in the zygote, used by every fork."""

    limits: Limits
    proc_fd: int
    """/proc as the zygote found it, to write user maps. Jobs do not get it."""
    nested: bool
    """Whether each job has user, mount and process namespaces of its own."""
    user: int | None
    """The uid to take in the zygote's namespace; None to stay who one is."""
    landlock_abi: int
    readable: tuple[str, ...]
    """What Landlock lets jobs read: where the root was built for them, all of it."""
    hidden: tuple[str, ...]
    """Readable paths that a private /tmp would hide."""
    filter: bytes
    processes: bool

    @classmethod
    def make(
        cls, limits: Limits, *, proc_fd: int, nested: bool, user: int | None, processes: bool, visible: tuple[str, ...]
    ) -> Cage:
        return cls(
            limits=limits,
            proc_fd=proc_fd,
            nested=nested,
            user=user,
            landlock_abi=landlock.abi(),
            readable=("/",) if nested else visible,
            hidden=tuple(paths.beneath_private(visible)),
            filter=seccomp.build(processes=processes, metadata=nested),
            processes=processes,
        )

    def lock(self, keep: set[int], folder: str | None) -> None:
        """Cage this process. `folder` is its private one where the tier has no mounts. OSError if a part fails."""
        if self.nested:
            self._own_namespaces()
        linux.close_all_but(keep)
        os.setpgid(0, 0)  # a signal to one's process group reaches no other job
        os.umask(0o077)
        private = folder or paths.PRIVATE
        os.chdir(private)
        self._limit()
        linux.set_dumpable(False)
        linux.no_new_privileges()
        if self.landlock_abi:
            landlock.restrict(self.landlock_abi, read=self.readable, write=(private, *paths.DEVICES))
        linux.drop_capabilities()
        seccomp.install(self.filter, pid=None if self.processes else os.getpid())

    def _own_namespaces(self) -> None:
        inner = os.geteuid()
        if self.user is not None:
            os.setgroups([])
            os.setresgid(self.user, self.user, self.user)
            os.setresuid(self.user, self.user, self.user)
            linux.set_dumpable(True)  # or the files of this process in /proc would be root's
            inner = self.user
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
        outer.map_user(self.proc_fd, outer.INNER_USER, inner, inner)
        hidden = [(path, linux.clone_tree(path)) for path in self.hidden]
        flags = linux.MS_NOSUID | linux.MS_NODEV
        linux.mount("tmp", paths.PRIVATE, "tmpfs", flags, f"mode=700,size={self.limits.disk_bytes},nr_inodes=65536")
        for path, tree in hidden:
            os.makedirs(path, exist_ok=True)
            linux.attach_tree(tree, path)
        if os.path.isdir("/proc"):
            linux.mount("proc", "/proc", "tmpfs", flags | linux.MS_RDONLY, "size=4k")

    def _limit(self) -> None:
        limits = self.limits
        wanted = {
            resource.RLIMIT_AS: limits.memory_bytes,
            resource.RLIMIT_CPU: limits.cpu_s,
            resource.RLIMIT_FSIZE: limits.disk_bytes,
            resource.RLIMIT_NOFILE: limits.open_files,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_MEMLOCK: 65_536,
            resource.RLIMIT_MSGQUEUE: 0,
            **({resource.RLIMIT_NPROC: limits.processes} if self.processes else {}),
        }
        for kind, value in wanted.items():
            resource.setrlimit(kind, (value, value))
