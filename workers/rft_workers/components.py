"""The components a worker serves: built on request, by run and digest."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rft.v1 import worker_pb2
from rft_core.errors import (
    BadReplyError,
    ComponentError,
    ConfigError,
    NotConfiguredError,
    WorkerBusyError,
    WorkerRefusedError,
)
from rft_core.hosting import AnyGraderHost, SamplerHost, facts_of, host_grader
from rft_core.registry import PluginOwner, Registry
from rft_core.remote import convert
from rft_core.remote.handshake import KIND_TO_PROTO, WorkerKind, check_release
from rft_core.specs import BuildContext

log = logging.getLogger("rft_workers")

Key = tuple[str, str]
"""Run id and component digest, which covers the model too: the stages of a run are told apart."""


@dataclass(kw_only=True)
class Served:
    """A component that was built for a run."""

    key: Key
    type: str
    owner: PluginOwner
    host: SamplerHost | AnyGraderHost
    facts: Mapping[str, str] = field(default_factory=dict)
    users: int = 0
    """Calls and computations that use it now; it is not closed under them."""
    failed: bool = False
    """The last thing it was asked to do went wrong, and the fault was its own."""

    def to_proto(self) -> worker_pb2.ServedComponent:
        policy = self.host.policy if isinstance(self.host, SamplerHost) else None
        return worker_pb2.ServedComponent(
            run_id=self.key[0],
            component_digest=self.key[1],
            type=self.type,
            distribution=self.owner.distribution,
            distribution_version=self.owner.version,
            policy=None if policy is None else convert.weights_to_proto(policy),
        )

    @property
    def healthy(self) -> bool:
        return not self.failed and not (isinstance(self.host, AnyGraderHost) and self.host.exhausted)


class Components:
    """Builds and keeps at most `limit` components; the one that was unused longest makes room."""

    def __init__(
        self,
        kind: WorkerKind,
        *,
        concurrency: int,
        limit: int,
        executor: Executor,
        on_health: Callable[[bool], None],
        on_closed: Callable[[Key], None],
    ) -> None:
        """`on_health` is told after each computation whether all components work, `on_closed` which one made
        room for another."""
        self.kind = kind
        self._concurrency, self._limit, self._executor = concurrency, limit, executor
        self._on_health, self._on_closed = on_health, on_closed
        self._served: OrderedDict[Key, Served] = OrderedDict()
        self._lock = asyncio.Lock()
        self._registry: Registry | None = None
        self._registry_lock = threading.Lock()

    def all(self) -> list[Served]:
        return list(self._served.values())

    def get(self, run_id: str, digest: str) -> Served:
        """The component of a run. NotConfiguredError if it was not built here, or made room."""
        key = (run_id, digest)
        if key not in self._served:
            raise NotConfiguredError(f"this worker holds no {self.kind} for run {run_id}; configure it first")
        self._served.move_to_end(key)
        return self._served[key]

    def start(self, served: Served, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `work` in the worker's threads. `served` is not closed before it ended, whoever still waits for it:
        shield the future from the end of a call, because a thread cannot be cancelled."""
        return self.track(served, asyncio.get_running_loop().run_in_executor(self._executor, work))

    def track(self, served: Served, future: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """Count a computation of `served` until its end, and learn from that whether the component works."""
        served.users += 1
        future.add_done_callback(partial(self._ended, served))
        return future

    def _ended(self, served: Served, future: asyncio.Future[Any]) -> None:
        served.users -= 1
        error = None if future.cancelled() else future.exception()
        served.failed = isinstance(error, ComponentError | BadReplyError)
        self._tell_health()

    def _tell_health(self) -> None:
        self._on_health(all(served.healthy for served in self._served.values()))

    async def configure(self, request: worker_pb2.ConfigureRequest) -> Served:
        """Build the component unless it is there. One is built at a time; asking again waits for it."""
        check_release(request.protocol_release, "the engine", "this worker")
        if request.kind != KIND_TO_PROTO[self.kind]:
            raise WorkerRefusedError(f"this worker hosts a {self.kind}, and another kind of component was asked for")
        key = (request.run_id, request.component_digest)
        loop = asyncio.get_running_loop()
        async with self._lock:
            if key not in self._served:
                await self._make_room()
                self._served[key] = await loop.run_in_executor(self._executor, partial(self._build, request, key))
            return self.get(*key)

    async def _make_room(self) -> None:
        if len(self._served) < self._limit:
            return
        for key, served in self._served.items():
            if served.users == 0:
                del self._served[key]
                log.info("closing the %s of run %s to make room", self.kind, key[0])
                self._tell_health()
                try:
                    await asyncio.get_running_loop().run_in_executor(self._executor, served.host.close)
                finally:
                    self._on_closed(key)
                return
        raise WorkerBusyError(f"all {self._limit} components of this worker are in use", retry_after_s=1.0)

    def close(self) -> None:
        """Close what no call uses. A component that fails at that is told in the log, nothing more."""
        for served in self._served.values():
            if served.users == 0:
                try:
                    served.host.close()
                except Exception:
                    log.exception("the %s '%s' failed to close", self.kind, served.type)

    def find_registry(self) -> Registry:
        """The installed plugins, looked for once; may be called from any thread."""
        with self._registry_lock:
            if self._registry is None:
                self._registry = Registry.discover()
                # What plugins import stays; looking through it for garbage took a tenth of a grader worker's time.
                gc.freeze()
            return self._registry

    def _build(self, request: worker_pb2.ConfigureRequest, key: Key) -> Served:
        registry = self.find_registry()
        raw = _read_config(request.config_json)
        model = convert.model_from_proto(request.model) if request.HasField("model") else None
        digest = convert.recipe_digest(registry.digest_of(self.kind, raw), model, request.seed)
        owner = registry.describe(self.kind, str(raw["type"]))
        if digest != request.component_digest:
            raise WorkerRefusedError(
                f"the {self.kind} '{raw['type']}' differs between engine and worker, which has {owner}; "
                "install the same version of the plugin in both"
            )
        log.info("building the %s '%s' of %s for run %s", self.kind, raw["type"], owner, request.run_id)
        context = BuildContext(
            base_dir=Path(request.base_dir),
            seed=request.seed,
            model=model,
        )
        component: Any = registry.build(self.kind, raw, context)
        host: SamplerHost | AnyGraderHost
        if self.kind == "sampler":
            host = SamplerHost(component)
            host.info()
        else:
            host = host_grader(component, self._concurrency, instant=registry.instant(raw))
        return Served(key=key, type=str(raw["type"]), owner=owner, host=host, facts=facts_of(component))


def _read_config(text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the component's config is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError("the component's config must be a JSON object")
    return raw
