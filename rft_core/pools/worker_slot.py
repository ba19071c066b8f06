"""One place in a pool: a worker, kept alive.

A keeper thread brings the worker up (start or connect, handshake, set-up, current policy), waits for
trouble and does it again. Lanes that meet trouble report it and go on with another worker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft_core.boundary import sentence
from rft_core.config.workers import WorkerConfig
from rft_core.errors import (
    BadReplyError,
    ConfigError,
    NotConfiguredError,
    PolicyNotLoadedError,
    RftError,
    StopRequested,
    WorkerError,
)
from rft_core.hosting import same_policy
from rft_core.pools.supervisor import WorkerProcess
from rft_core.remote.client import Recipe, WorkerClient
from rft_core.types import Busy, GradedUnit, GradeUnit, SampledUnit, SamplerInfo, SampleUnit, WeightRef

MAX_DEATHS = 5
"""Deaths in a row, without a finished unit between them, after which a worker is given up."""
BACKOFF_S = (0.0, 0.1, 0.5, 1.0, 2.0)
MAX_BAD_REPLIES = 2
"""Answers that fail the checks, after which a worker is taken out."""
RECONNECT_S = 5.0
CLOSE_GRACE_S = 5.0
LEAST_UNITS = 3
"""Units in flight at one grader at least: one is graded while another travels."""
GROUPS_AHEAD = 2
"""Groups in flight at one grader beyond those that it grades at the same time: they wait there for a free thread."""

Emit = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How a worker at an address is reached."""

    address: str
    token: str
    tls: Any = None


class WorkerSlot:
    """Holds worker number `index` of a pool. `changed` is called whenever it became ready, troubled or lost."""

    def __init__(
        self,
        index: int,
        recipe: Recipe,
        config: WorkerConfig,
        *,
        log_dir: Path,
        reach: Reach | None,
        emit: Emit,
        changed: Callable[[], None],
        wanted_policy: Callable[[], WeightRef | None],
        lock: threading.RLock,
    ) -> None:
        self.recipe, self.config, self.reach = recipe, config, reach
        self.name = f"{recipe.kind}-{index}" if reach is None else f"{recipe.kind}-{index} ({reach.address})"
        self.client: WorkerClient | None = None
        self.info: SamplerInfo | None = None
        self.error: RftError | None = None
        """Why the worker did not start, or was given up."""
        self.in_flight = 0
        """Units it computes now. This and the next three are the pool's, under its lock."""
        self.groups = 0
        """Groups in these units."""
        self.room = threading.Condition(lock)
        """Lanes wait here while the worker has enough to do."""
        self.solo = False
        """A suspect unit has the worker for itself."""
        self.lost = False
        """Given up: it will not come back."""
        self.broken = False
        """Lost to a fault of the engine itself, in `error`: the pool cannot go on without knowing what it misses."""
        self.ready = threading.Event()
        self.started = threading.Event()
        """Set when the first start succeeded or failed."""
        self._log_file = log_dir / f"{recipe.kind}-{index}.log"
        self._emit, self._changed, self._wanted_policy = emit, changed, wanted_policy
        self._process: WorkerProcess | None = None
        self._loaded: WeightRef | None = None
        self._load_lock = threading.Lock()
        self._trouble = threading.Event()
        self._closing = threading.Event()
        self._quarantined = threading.Event()
        self._bad_replies = 0
        self._failures = 0
        self._keeper = threading.Thread(target=self._keep, name=f"keeper-{self.name}", daemon=True)

    @property
    def at_once(self) -> int:
        """Groups that a grader worker grades at the same time: by its own account, or as it was told."""
        info = self.client.info if self.client is not None else None
        return self.config.concurrency if info is None else max(1, info.concurrency)

    @property
    def lanes(self) -> int:
        """Units that may be in flight: at a grader as many as keep it at work when each is one group."""
        return 1 if self.recipe.kind == "sampler" else max(LEAST_UNITS, self.at_once + GROUPS_AHEAD)

    @property
    def full(self) -> bool:
        """Whether a grader has enough to do: with more, units would wait here while other workers are idle."""
        return self.in_flight >= LEAST_UNITS and self.groups >= self.at_once + GROUPS_AHEAD

    def start(self) -> None:
        """Bring the worker up in the background."""
        self._keeper.start()

    def report(self, client: WorkerClient) -> None:
        """A call over `client` failed in a way that may be the worker's end."""
        if client is self.client:
            self.ready.clear()
            self._trouble.set()
            self._changed()

    def succeeded(self) -> None:
        """A unit was finished: earlier deaths no longer count."""
        self._failures = 0

    def bad_reply(self, error: BadReplyError) -> None:
        """An answer of the worker failed the checks. A second one is no accident: it is taken out for good."""
        self._bad_replies += 1
        if self._bad_replies < MAX_BAD_REPLIES or self._quarantined.is_set():
            return
        self.error = BadReplyError(
            f"the worker {self.name} was taken out, because {MAX_BAD_REPLIES} of its answers failed the checks; the last: {error}"
        )
        names = self._names()
        self._quarantined.set()
        self.ready.clear()
        self._trouble.set()
        self._emit("worker_quarantined", {**names, "error": str(self.error)})

    def run(self, client: WorkerClient, unit: SampleUnit | GradeUnit, timeout_s: float) -> SampledUnit | GradedUnit:
        """Compute a unit over `client`, with the set-up and the policy that it needs."""
        for _ in range(2):
            try:
                return self._call(client, unit, timeout_s)
            except NotConfiguredError:
                self._configure(client)
            except PolicyNotLoadedError:
                self._loaded = None
        return self._call(client, unit, timeout_s)

    def _call(self, client: WorkerClient, unit: SampleUnit | GradeUnit, timeout_s: float) -> SampledUnit | GradedUnit:
        if isinstance(unit, GradeUnit):
            return client.grade(self.recipe, unit, timeout_s=timeout_s)
        self.load_policy(client, unit.policy)
        return client.sample(self.recipe, unit, timeout_s=timeout_s)

    def load_policy(self, client: WorkerClient, ref: WeightRef) -> tuple[Busy, ...]:
        """Make the worker serve `ref`, unless it does already; says when its sampler was at work. One that was
        restarted while nobody asked it for anything, or made room for another run, is configured again."""
        with self._load_lock:
            if self._loaded is not None and same_policy(self._loaded, ref):
                return ()
            self._loaded = None
            try:
                busy = client.load_policy(self.recipe, ref)
            except NotConfiguredError:
                self._configure(client)
                busy = client.load_policy(self.recipe, ref)
            self._loaded = ref
            return busy

    def _configure(self, client: WorkerClient) -> None:
        """Have the worker build its component. ConfigError if that makes it another sampler than before."""
        self._loaded = None
        info = client.configure(self.recipe, timeout_s=self.config.start_timeout_s)
        if self.info is not None and info != self.info:
            raise ConfigError(
                f"the worker {self.name} came back as another sampler ({info}, before {self.info}); start the run again"
            )
        self.info = info

    def begin_close(self) -> None:
        """Stop keeping the worker alive, end its running calls and ask a process of ours to end."""
        self._closing.set()
        self._trouble.set()
        client, process = self.client, self._process
        if client is not None:
            client.close()
        if process is not None:
            process.terminate()

    def finish_close(self) -> None:
        """Wait until the worker is gone; a process that does not end in time is killed."""
        if self._keeper.is_alive():
            self._keeper.join()

    def _keep(self) -> None:
        """The keeper thread. However it ends, nothing is left of the worker and the pool knows."""
        try:
            self._keep_up()
        except Exception as caught:  # noqa: BLE001 a bug of ours, or events that cannot be written: the pool ends with it
            self.broken = True
            said = f"the worker {self.name} was given up: {sentence(caught)}"
            self.error = caught if isinstance(caught, RftError) else RftError(said)
        finally:
            self.ready.clear()
            try:
                self._tear_down(CLOSE_GRACE_S if self._closing.is_set() else 0.0)
            finally:
                self.lost = True
                self.started.set()
                self._changed()

    def _keep_up(self) -> None:
        """Bring the worker up, wait for trouble, again, until it is no longer wanted or given up."""
        came_up_before = False
        while True:
            self._trouble.clear()
            if self._unwanted:  # after the clear: what sets it sets trouble next, and that must not be lost
                return
            begin_s = time.monotonic()
            try:
                self._bring_up()
            except (RftError, OSError) as error:
                if self._unwanted:
                    return
                again = self._failed(error)
                self._tear_down(0.0)
                if not (came_up_before or again) or not self._may_go_on():
                    return
                continue
            kind = "worker_restarted" if came_up_before else "worker_started"
            facts = dict(self.client.facts) if self.client is not None else {}
            self._emit(kind, {**self._names(), "took_s": round(time.monotonic() - begin_s, 3), **facts})
            came_up_before = True
            self.ready.set()
            self.started.set()
            self._changed()
            self._trouble.wait()
            self.ready.clear()
            if self._unwanted:
                return
            self._lost_it()
            if not self._may_go_on():
                return

    @property
    def _unwanted(self) -> bool:
        return self._closing.is_set() or self._quarantined.is_set()

    def _check_wanted(self) -> None:
        """StopRequested between the steps of a start: what began to close before a step does not see its outcome."""
        if self._unwanted:
            raise StopRequested(f"the worker {self.name} is no longer wanted")

    def _bring_up(self) -> None:
        timeout_s = self.config.start_timeout_s
        if self.reach is None:
            self._process = WorkerProcess(self.recipe.kind, self.config, self._log_file, self._trouble.set)
            self._check_wanted()
            self._process.wait_ready(timeout_s)
            client = WorkerClient(self._process.address, self._process.token, name=self.name)
        else:
            client = WorkerClient(self.reach.address, self.reach.token, name=self.name, tls=self.reach.tls)
        self.client = client
        self._check_wanted()
        process = self._process
        client.handshake(
            self.recipe.kind,
            timeout_s=10.0,
            patience_s=RECONNECT_S if process is None else timeout_s,  # a loaded machine may be slow to connect
            gone=process.exited.is_set if process is not None else lambda: False,
            by_hand=process is None,
        )
        self._configure(client)
        wanted = self._wanted_policy()
        if wanted is not None:
            self.load_policy(client, wanted)

    def _failed(self, error: RftError | OSError) -> bool:
        """The worker did not come up. What its process wrote last belongs into the sentence. Returns whether
        a first start is worth another try: a process that a signal ended says nothing about the component."""
        if not isinstance(error, RftError):
            error = WorkerError(f"the worker {self.name} could not be started: {error}")
        # A call may notice the end before the process is reaped.
        if self._process is not None and isinstance(error, WorkerError) and self._process.exited.wait(0.5):
            status = self._process.exit_status()
            if "before it was ready" not in str(error):
                error = WorkerError(
                    f"the worker {self.name} ended with {status} during its start{self._process.log_hint()}"
                )
        self._failures += 1
        self.error = error
        self._emit("worker_start_failed", {**self._names(), "error": str(error)})
        return self._process is not None and self._process.ended_by_signal

    def _lost_it(self) -> None:
        """The worker was up and is in trouble: say so, and clear away what is left of it."""
        process = self._process
        if process is not None:
            died = process.exited.wait(0.2)  # a call may notice the end before the process is reaped
            self._failures += 1
            status = process.exit_status() if died else "no answer; it was killed"
            self.error = WorkerError(f"the worker {self.name} (pid {process.pid}) died: {status}{process.log_hint()}")
        else:
            status = "unreachable"
            self.error = WorkerError(f"the worker {self.name} could not be reached any more")
        self._emit("worker_died", {**self._names(), "status": status, "error": str(self.error)})
        self._tear_down(0.0)

    def _may_go_on(self) -> bool:
        """Wait before the next try; False when the worker is given up. Workers at an address never are."""
        if self.reach is None and self._failures > MAX_DEATHS:
            self.error = WorkerError(
                f"the worker {self.name} died {self._failures} times without finishing a unit and was given up; last: {self.error}"
            )
            self._emit("worker_lost", {**self._names(), "error": str(self.error)})
            return False
        delay_s = BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1] if self._failures else 0.1
        return not self._closing.wait(delay_s)

    def _tear_down(self, grace_s: float) -> None:
        client, process = self.client, self._process
        self.client = None
        if client is not None:
            client.close()
        if process is not None:
            if grace_s:
                process.terminate()
            process.end(grace_s)
            self._process = None

    def _names(self) -> dict[str, Any]:
        info = self.client.info if self.client is not None else None
        pid = self._process.pid if self._process is not None else (info.pid if info is not None else None)
        return {"worker": self.name, "pid": pid}
