"""One worker as the engine sees it: typed calls with deadlines, and errors of our own."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import grpc

from rft.v1 import (
    grader_pb2_grpc,
    sampler_pb2,
    sampler_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from rft_core import weights
from rft_core.addresses import is_on_host
from rft_core.config.workers import WorkerConfig
from rft_core.errors import BadReplyError, ConfigError, ModelError, WorkerError, WorkerRefusedError
from rft_core.remote import convert
from rft_core.remote.handshake import (
    CAN_UPLOAD,
    CHANNEL_OPTIONS,
    KIND_TO_PROTO,
    PROTOCOL_RELEASE,
    WorkerInfo,
    WorkerKind,
    check_info,
    read_info,
)
from rft_core.remote.status import from_rpc_error, nobody_answers
from rft_core.types import Busy, GradedUnit, GradeUnit, ModelRef, SampledUnit, SamplerInfo, SampleUnit, WeightRef

UPLOAD_CHUNK_BYTES = 4 * 1024 * 1024
LOAD_TIMEOUT_S = 600.0

Reply = TypeVar("Reply")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A component of a run, as every worker of its pool is configured."""

    kind: WorkerKind
    run_id: str
    config_json: str
    digest: str
    base_dir: Path
    model: ModelRef | None
    seed: int
    needs_tokens: bool = True
    """Of a grader: whether it is sent the segments of rollouts."""

    def to_proto(self) -> worker_pb2.ConfigureRequest:
        return worker_pb2.ConfigureRequest(
            protocol_release=PROTOCOL_RELEASE,
            kind=KIND_TO_PROTO[self.kind],
            run_id=self.run_id,
            config_json=self.config_json,
            component_digest=self.digest,
            base_dir=str(self.base_dir),
            model=None if self.model is None else convert.model_to_proto(self.model),
            seed=self.seed,
        )


def credentials(config: WorkerConfig, base_dir: Path) -> Any:
    """TLS credentials for workers at an address; None when TLS is not configured. ConfigError on unreadable files."""
    if config.tls_ca is None:
        return None

    def read(file: Path | None) -> bytes | None:
        if file is None:
            return None
        try:
            return (base_dir / file).read_bytes()
        except OSError as error:
            raise ConfigError(f"the file {base_dir / file} cannot be read ({error.strerror})", where="worker") from None

    authority = read(config.tls_ca) or b""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=authority.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise ConfigError(
            f"the file {base_dir / config.tls_ca} holds no PEM certificate; correct the path", where="worker.tls_ca"
        ) from None
    return grpc.ssl_channel_credentials(authority, read(config.tls_key), read(config.tls_cert))


class WorkerClient:
    """A connection to one worker. Thread-safe; every call has a deadline and raises RftErrors only."""

    def __init__(self, address: str, token: str, *, name: str = "", tls: Any = None) -> None:
        """ConfigError for a token that no worker can have."""
        if not (token.isascii() and token.isprintable()):
            raise ConfigError(
                f"the token for the worker at {address} must be one line of ASCII characters, as the worker printed it",
                where="worker",
            )
        self.address = address
        self.name = name or address
        self.facts: dict[str, str] = {}
        """What its component says about how it works there."""
        self.info: WorkerInfo | None = None
        self._closed = False
        self._metadata = (("authorization", f"Bearer {token}"),)
        options = list(CHANNEL_OPTIONS)
        # A channel is only ever used for one life of a worker, so it should not wait long to try again.
        options += [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        if is_on_host(address):
            # http_proxy is for other machines; gRPC would honour it for this one too.
            options.append(("grpc.enable_http_proxy", 0))
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            self._channel = grpc.secure_channel(address, tls, options=options)
        self._worker = worker_pb2_grpc.WorkerServiceStub(self._channel)  # type: ignore[no-untyped-call] # generated
        self._sampler = sampler_pb2_grpc.SamplerServiceStub(self._channel)  # type: ignore[no-untyped-call] # generated
        self._grader = grader_pb2_grpc.GraderServiceStub(self._channel)  # type: ignore[no-untyped-call] # generated

    def _call(self, method: Any, request: Any, timeout_s: float, what: str, *, by_hand: str = "") -> Any:
        """`by_hand`: the kind of worker that somebody else should have started."""
        try:
            return method(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            nobody = nobody_answers(error, kind=by_hand, address=self.address) if by_hand else None
            raise nobody or from_rpc_error(error, worker=self.name, call=what) from None
        except ValueError as error:  # grpc: the channel was closed by another thread
            raise WorkerError(f"the connection to the worker {self.name} was closed before {what}: {error}") from None

    def handshake(
        self,
        kind: WorkerKind,
        *,
        timeout_s: float,
        patience_s: float = 0.0,
        gone: Callable[[], bool] = lambda: False,
        by_hand: bool = False,
    ) -> WorkerInfo:
        """Ask who is there, again for `patience_s` while nobody answers and the worker is not known to be
        `gone`. WorkerRefusedError unless it fits; WorkerError if nobody answers, which says how to start a worker
        that is started `by_hand`."""
        end_s = time.monotonic() + patience_s
        request, who = worker_pb2.GetInfoRequest(), kind if by_hand else ""
        while True:
            try:
                message = self._call(self._worker.GetInfo, request, timeout_s, "the handshake", by_hand=who)
                break
            except WorkerError as error:
                if isinstance(error, WorkerRefusedError) or self._closed or gone() or time.monotonic() >= end_s:
                    raise
                time.sleep(0.05)
        self.info = read_info(message, self.address)
        check_info(self.info, kind)
        return self.info

    def configure(self, recipe: Recipe, *, timeout_s: float) -> SamplerInfo | None:
        """Build the component in the worker. Idempotent. Samplers tell their info."""
        reply = self._call(self._worker.Configure, recipe.to_proto(), timeout_s, "the set-up of its component")
        self.facts = dict(reply.facts)
        return convert.info_from_proto(reply.sampler) if reply.HasField("sampler") else None

    def load_policy(self, recipe: Recipe, ref: WeightRef, *, timeout_s: float = LOAD_TIMEOUT_S) -> tuple[Busy, ...]:
        """Make the worker serve `ref`, reading its files from disk or, if it cannot, from an upload. Says
        when its sampler was at work."""
        what = f"the load of policy {ref.number}"
        if self.info is None or self.info.same_host:
            request = sampler_pb2.LoadPolicyRequest(
                run_id=recipe.run_id, component_digest=recipe.digest, policy=convert.weights_to_proto(ref)
            )
            try:
                reply = self._call(self._sampler.LoadPolicy, request, timeout_s, what)
                return self._here(convert.busy_from_proto(reply.busy))
            except ModelError:
                # The same kernel, but another container: it does not see the engine's files.
                if self.info is None or CAN_UPLOAD not in self.info.capabilities or not Path(ref.path).is_dir():
                    raise
        reply = self._call(self._sampler.UploadWeights, _upload(recipe, ref), timeout_s, what)
        return self._here(convert.busy_from_proto(reply.busy))

    def sample(self, recipe: Recipe, unit: SampleUnit, *, timeout_s: float) -> SampledUnit:
        reply = self._call(
            self._sampler.Sample, convert.sample_request(unit, recipe.digest), timeout_s, f"unit {unit.request_id}"
        )
        found = self._read(convert.sampled_unit, reply)
        return replace(found, busy=self._here(found.busy))

    def grade(self, recipe: Recipe, unit: GradeUnit, *, timeout_s: float) -> GradedUnit:
        request = convert.grade_request(unit, recipe.digest, needs_tokens=recipe.needs_tokens)
        reply = self._call(self._grader.Grade, request, timeout_s, f"unit {unit.request_id}")
        found = self._read(convert.graded_unit, reply)
        return replace(found, busy=self._here(found.busy))

    def _here(self, busy: tuple[Busy, ...]) -> tuple[Busy, ...]:
        """The intervals by this machine's clock."""
        return busy if self.info is not None and self.info.same_host else _received_now(busy)

    def _read(self, function: Callable[[Any], Reply], message: Any) -> Reply:
        try:
            return function(message)
        except ValueError as error:
            raise BadReplyError(f"the answer of the worker {self.name} cannot be read: {error}") from None

    def close(self) -> None:
        """Ends running calls with a WorkerError in their threads."""
        self._closed = True
        self._channel.close()


def _received_now(busy: tuple[Busy, ...]) -> tuple[Busy, ...]:
    """Intervals by another machine's clock, moved so that the last one ends at receipt."""
    if not busy:
        return busy
    shift_s = time.monotonic() - max(b.end_s for b in busy)
    return tuple(Busy(kind=b.kind, start_s=b.start_s + shift_s, end_s=b.end_s + shift_s) for b in busy)


def upload_files(folder: Path) -> list[Path]:
    """The files of a weight reference: the adapter and its config, or all tensors."""
    if (folder / weights.ADAPTER_FILE).exists():
        return [folder / weights.ADAPTER_FILE, folder / "adapter_config.json"]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no safetensors weights")
    return files


def _upload(recipe: Recipe, ref: WeightRef) -> Iterator[sampler_pb2.UploadWeightsRequest]:
    files = upload_files(Path(ref.path))
    header = sampler_pb2.UploadHeader(
        run_id=recipe.run_id,
        component_digest=recipe.digest,
        policy=convert.weights_to_proto(replace(ref, path="")),
        total_bytes=sum(file.stat().st_size for file in files),
    )
    yield sampler_pb2.UploadWeightsRequest(header=header)
    for file in files:
        with file.open("rb") as handle:
            while data := handle.read(UPLOAD_CHUNK_BYTES):
                chunk = sampler_pb2.UploadChunk(file=file.name, data=data, sha256=hashlib.sha256(data).digest())
                yield sampler_pb2.UploadWeightsRequest(chunk=chunk)
