"""What both sides agree on before work starts: the protocol's release and who is there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from rft.v1 import worker_pb2
from rft_core.errors import WorkerRefusedError

PROTOCOL_RELEASE = 2
"""Raised by every change of `rft.v1` that an older peer would misunderstand."""

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A peer that is stopped, or behind a cut line, answers no pings and is given up.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)

CAN_UPLOAD = "upload_weights"

WorkerKind = Literal["sampler", "grader"]
KIND_TO_PROTO: dict[WorkerKind, worker_pb2.ComponentKind] = {
    "sampler": worker_pb2.COMPONENT_KIND_SAMPLER,
    "grader": worker_pb2.COMPONENT_KIND_GRADER,
}


@cache
def boot_id() -> str:
    """Names the running kernel: processes with equal ids share a monotonic clock. Empty if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerInfo:
    """What a worker says about itself."""

    address: str
    kind: str
    version: str
    protocol_release: int
    pid: int
    capabilities: frozenset[str]
    concurrency: int
    same_host: bool
    """It shares this machine's clock, and may be able to read the engine's files."""


def read_info(message: worker_pb2.GetInfoResponse, address: str) -> WorkerInfo:
    kinds = {number: kind for kind, number in KIND_TO_PROTO.items()}
    return WorkerInfo(
        address=address,
        kind=kinds.get(message.kind, "unknown"),
        version=message.version,
        protocol_release=message.protocol_release,
        pid=message.pid,
        capabilities=frozenset(message.capabilities),
        concurrency=message.concurrency,
        same_host=message.boot_id != "" and message.boot_id == boot_id(),
    )


def check_info(info: WorkerInfo, kind: WorkerKind) -> None:
    """WorkerRefusedError unless the worker speaks this release and hosts this kind of component."""
    check_release(info.protocol_release, f"the worker at {info.address} (rft-workers {info.version})", "this engine")
    if info.kind != kind:
        raise WorkerRefusedError(f"the worker at {info.address} hosts a {info.kind}, not a {kind}; correct the address")


def check_release(theirs: int, who: str, we: str) -> None:
    if theirs != PROTOCOL_RELEASE:
        raise WorkerRefusedError(
            f"{who} speaks release {theirs} of the protocol and {we} {PROTOCOL_RELEASE}; install matching versions of rft-engine and rft-workers"
        )
