"""The worker process: one gRPC server, its health, and a clean end on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
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
WORKER_SERVICE = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name
SERVICE_OF_KIND: dict[WorkerKind, str] = {
    "sampler": sampler_pb2.DESCRIPTOR.services_by_name["SamplerService"].full_name,
    "grader": grader_pb2.DESCRIPTOR.services_by_name["GraderService"].full_name,
}


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

    health_service = health.aio.HealthServicer()  # type: ignore[attr-defined] # the stubs lack it
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    tell = _Health(health_service, SERVICE_OF_KIND[settings.kind])
    components = _add_services(server, settings, uploads, give_up, tell.working)
    services = [WORKER_SERVICE, SERVICE_OF_KIND[settings.kind]]
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


class _Health:
    """Says in `grpc.health.v1` whether the components of a service work; its last word before the end is the
    server's, which says NOT_SERVING for all."""

    def __init__(self, servicer: Any, service: str) -> None:
        self._servicer, self._service = servicer, service
        self._said = True
        self._tasks: set[asyncio.Task[None]] = set()

    def working(self, are: bool) -> None:
        if are == self._said:
            return
        self._said = are
        status = health_pb2.HealthCheckResponse.SERVING if are else health_pb2.HealthCheckResponse.NOT_SERVING
        task = asyncio.get_running_loop().create_task(self._servicer.set(self._service, status))
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)


def _add_services(
    server: Any,
    settings: Settings,
    uploads: Uploads,
    give_up: Callable[[], None],
    on_health: Callable[[bool], None],
) -> Components:
    running = 1 if settings.kind == "sampler" else settings.concurrency
    executor = ThreadPoolExecutor(1, "component")
    units = Units(limit=running + WAITING_UNITS)
    components = Components(
        settings.kind,
        concurrency=settings.concurrency,
        limit=settings.max_components,
        executor=executor,
        on_health=on_health,
        on_closed=lambda key: uploads.drop(*key),
    )
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerService(components, running), server)  # type: ignore[no-untyped-call] # generated
    if settings.kind == "sampler":
        sampler_pb2_grpc.add_SamplerServiceServicer_to_server(SamplerService(components, units, uploads), server)  # type: ignore[no-untyped-call] # generated
    else:
        grader_pb2_grpc.add_GraderServiceServicer_to_server(GraderService(components, units, give_up), server)  # type: ignore[no-untyped-call] # generated
    return components


def _bind(server: Any, settings: Settings) -> str:
    """Bind, and say at which address: the system chooses a port for port 0."""
    credentials = _credentials(settings)
    try:
        if credentials is None:
            port = server.add_insecure_port(settings.listen)
        else:
            port = server.add_secure_port(settings.listen, credentials)
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {settings.listen}: {error}; another process may use it") from None
    if settings.listen.startswith("unix"):
        return settings.listen
    host, asked = split_host_port(settings.listen)
    return settings.listen if asked else f"{f'[{host}]' if ':' in host else host}:{port}"


def _credentials(settings: Settings) -> Any:
    """None without TLS. ConfigError for files that cannot be read or hold something else: gRPC itself would only
    say that it cannot listen."""
    cert, key, authority = settings.tls_cert, settings.tls_key, settings.tls_ca
    if cert is None or key is None:
        return None
    try:
        cert_pem, key_pem = cert.read_bytes(), key.read_bytes()
        authority_pem = None if authority is None else authority.read_bytes()
    except OSError as error:
        raise ConfigError(f"the TLS file {error.filename} cannot be read ({error.strerror})") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=b"")  # rather an error than a question on the terminal
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").lower().replace("_", " ")
        raise ConfigError(
            f"{cert} and {key} are not a certificate and its unencrypted key ({reason}); correct --tls-cert and --tls-key"
        ) from None
    try:
        if authority is not None:
            context.load_verify_locations(authority)
    except ssl.SSLError:
        raise ConfigError(f"{authority} holds no PEM certificate; correct --tls-ca") from None
    return grpc.ssl_server_credentials(
        [(key_pem, cert_pem)], root_certificates=authority_pem, require_client_auth=authority is not None
    )
