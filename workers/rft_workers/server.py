"""The worker process: one gRPC server, its health, and a clean end on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from rft.v1 import grader_pb2, grader_pb2_grpc, sampler_pb2, sampler_pb2_grpc, worker_pb2, worker_pb2_grpc
from rft_core.addresses import is_on_host, split_host_port
from rft_core.errors import ConfigError
from rft_core.remote.handshake import CHANNEL_OPTIONS, WorkerKind
from rft_workers.auth import TokenInterceptor
from rft_workers.components import Components
from rft_workers.services import GraderService, SamplerService, WorkerService
from rft_workers.units import Units
from rft_workers.uploads import Uploads

log = logging.getLogger("rft_workers")

EXIT_RESTART = 75
"""EX_TEMPFAIL of sysexits.h: nothing is wrong with how the worker was started; start it again."""
WAITING_UNITS = 8
"""Units that may wait beside those that run."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a worker serves, and where."""

    kind: WorkerKind
    listen: str
    token: str
    concurrency: int
    max_components: int = 4
    grace_s: float = 30.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    """If set, clients must show a certificate of this authority (mTLS)."""

    def check(self) -> None:
        """ConfigError for an address that would expose the worker, or TLS settings that do not fit."""
        if (self.tls_cert is None) != (self.tls_key is None) or (self.tls_ca is not None and self.tls_cert is None):
            raise ConfigError("TLS needs --tls-cert and --tls-key; --tls-ca comes on top of them")
        if not is_on_host(self.listen) and self.tls_cert is None:
            raise ConfigError(
                f"{self.listen} can be reached from other machines; give --tls-cert and --tls-key, or listen on 127.0.0.1"
            )


async def serve(settings: Settings, on_ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT, then finish what runs, and say the exit code. `on_ready` gets the
    address once calls are served."""
    settings.check()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    uploads = Uploads()
    server = aio.server(
        interceptors=(TokenInterceptor(settings.token),), options=[*CHANNEL_OPTIONS, ("grpc.so_reuseport", 0)]
    )
    exhausted = asyncio.Event()

    def give_up() -> None:
        if not exhausted.is_set():
            log.error("too many calls of the grader hang in this process; it ends, to be started again")
        exhausted.set()
        stop.set()

    components, services = _add_services(server, settings, uploads, give_up)
    health_service = health.aio.HealthServicer()  # type: ignore[attr-defined] # the stubs lack it
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    if is_on_host(settings.listen):
        reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    address = _bind(server, settings)
    await server.start()
    for service in services:
        await health_service.set(service, health_pb2.HealthCheckResponse.SERVING)
    on_ready(address)
    # Plugins are looked for while the engine shakes hands.
    loop.run_in_executor(None, components.find_registry)
    try:
        await stop.wait()
        log.info("stopping: no new units, finishing what runs")
        await health_service.enter_graceful_shutdown()
        await server.stop(settings.grace_s)
    finally:
        uploads.close()
        components.close()
    return EXIT_RESTART if exhausted.is_set() else 0


def _add_services(
    server: Any, settings: Settings, uploads: Uploads, give_up: Callable[[], None]
) -> tuple[Components, list[str]]:
    running = 1 if settings.kind == "sampler" else settings.concurrency
    executor = ThreadPoolExecutor(running if settings.kind == "sampler" else running + WAITING_UNITS, "unit")
    units = Units(executor, limit=running + WAITING_UNITS)
    components = Components(
        settings.kind, concurrency=settings.concurrency, limit=settings.max_components, executor=executor
    )
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerService(components, running), server)  # type: ignore[no-untyped-call] # generated
    if settings.kind == "sampler":
        sampler_pb2_grpc.add_SamplerServiceServicer_to_server(  # type: ignore[no-untyped-call] # generated
            SamplerService(components, units, executor, uploads), server
        )
        own = sampler_pb2.DESCRIPTOR.services_by_name["SamplerService"].full_name
    else:
        grader_pb2_grpc.add_GraderServiceServicer_to_server(GraderService(components, units, give_up), server)  # type: ignore[no-untyped-call] # generated
        own = grader_pb2.DESCRIPTOR.services_by_name["GraderService"].full_name
    return components, [worker_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name, own]


def _bind(server: Any, settings: Settings) -> str:
    """Bind, and say at which address: the system chooses a port for port 0."""
    try:
        if settings.tls_cert is None or settings.tls_key is None:
            port = server.add_insecure_port(settings.listen)
        else:
            credentials = grpc.ssl_server_credentials(
                [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())],
                root_certificates=None if settings.tls_ca is None else settings.tls_ca.read_bytes(),
                require_client_auth=settings.tls_ca is not None,
            )
            port = server.add_secure_port(settings.listen, credentials)
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {settings.listen}: {error}; another process may use it") from None
    except OSError as error:
        raise ConfigError(f"the TLS file {error.filename} cannot be read ({error.strerror})") from None
    if settings.listen.startswith("unix"):
        return settings.listen
    host, asked = split_host_port(settings.listen)
    return settings.listen if asked else f"{f'[{host}]' if ':' in host else host}:{port}"
