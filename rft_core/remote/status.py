"""Errors on the wire: `google.rpc.Status` with one `ErrorInfo`, whose reason is the error's `reason`.

The catalogue is `rft_core.errors.error_classes()`; every class has a status code here, and what was
raised in a worker is raised again in the engine as the same class with the same sentence.
"""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from rft_core.errors import BadReplyError, RftError, WorkerBusyError, WorkerError, WorkerRefusedError, error_classes

DOMAIN = "rft-engine"
MAX_SENTENCE_CHARS = 4_000
"""Trailing metadata is bounded (8 KiB by default in gRPC)."""
MAX_VALUE_CHARS = 1_000

CODE_OF_REASON: dict[str, grpc.StatusCode] = {
    "ERROR": grpc.StatusCode.UNKNOWN,
    "CONFIG_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "UNKNOWN_NAME": grpc.StatusCode.NOT_FOUND,
    "PLUGIN_UNUSABLE": grpc.StatusCode.FAILED_PRECONDITION,
    "DATA_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_VARIABLE": grpc.StatusCode.INVALID_ARGUMENT,
    "MODEL_UNUSABLE": grpc.StatusCode.FAILED_PRECONDITION,
    "RUN_DIR_UNUSABLE": grpc.StatusCode.FAILED_PRECONDITION,
    "STORAGE_FAILED": grpc.StatusCode.INTERNAL,
    "INTEGRITY_BROKEN": grpc.StatusCode.DATA_LOSS,
    "WORKER_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "WORKER_REFUSED": grpc.StatusCode.PERMISSION_DENIED,
    "POLICY_NOT_LOADED": grpc.StatusCode.FAILED_PRECONDITION,
    "WORKER_NOT_CONFIGURED": grpc.StatusCode.FAILED_PRECONDITION,
    "WORKER_BUSY": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "BAD_REPLY": grpc.StatusCode.INTERNAL,
    "COMPONENT_FAILED": grpc.StatusCode.INTERNAL,
    "NUMERICS_UNSOUND": grpc.StatusCode.INTERNAL,
    "TOO_MANY_GRADER_ERRORS": grpc.StatusCode.FAILED_PRECONDITION,
    "STOP_REQUESTED": grpc.StatusCode.ABORTED,
}

_CONNECT_FAILURES = {
    "Socket closed": (
        "it closed the connection",
        "if it serves TLS, give {key}.tls_ca, and tls_cert and tls_key where it asks for a certificate",
    ),
    "CERTIFICATE_VERIFY_FAILED": (
        "the authority in tls_ca did not sign its certificate",
        "give {key}.tls_ca the file of the one that did",
    ),
    "Hostname Verification": (
        "its certificate is of another host",
        "write a name that stands in the certificate into {key}.address",
    ),
    "WRONG_VERSION_NUMBER": (
        "it does not speak TLS",
        "start it with --tls-cert and --tls-key, or remove {key}.tls_ca",
    ),
}
"""What gRPC says of a connection that did not come about: what that means, and what to do about it."""
_START_IT = "start it with 'rft-worker {kind} --listen {address}', or correct {key}.address"
_KEY_OF_KIND = {"sampler": "sampler.worker", "grader": "grading.worker"}
"""Where the run file says how workers are reached."""

_REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INVALID_ARGUMENT,
}


def to_status(error: RftError) -> status_pb2.Status:
    """The status of an error. The attributes that its class declares travel as metadata."""
    code = CODE_OF_REASON.get(error.reason, grpc.StatusCode.UNKNOWN)
    declared = _declared(type(error))
    metadata = {name: json.dumps(value) for name, value in vars(error).items() if _fits(value, declared.get(name))}
    status = status_pb2.Status(code=code.value[0], message=str(error)[:MAX_SENTENCE_CHARS])
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if isinstance(error, WorkerBusyError):
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _declared(cls: type[RftError]) -> dict[str, Any]:
    """The attributes of an error class and their types."""
    return get_type_hints(cls)


def _fits(value: object, declared: Any) -> bool:
    return declared is not None and isinstance(value, declared) and len(str(value)) < MAX_VALUE_CHARS


def from_status(status: status_pb2.Status) -> RftError | None:
    """The error that a status carries; None if it is none of ours."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    found: RftError | None = None
    for detail in status.details:
        if detail.Unpack(info) and info.domain == DOMAIN:
            found = _restore(info, status.message)
        elif detail.Unpack(retry) and isinstance(found, WorkerBusyError):
            found.retry_after_s = max(0.0, retry.retry_delay.ToNanoseconds() / 1e9)
    return found


def _restore(info: error_details_pb2.ErrorInfo, message: str) -> RftError:
    """An instance with this sentence, without the constructor that would compose it anew. What its class
    does not declare is left out: a worker has no say in exit codes."""
    cls = error_classes().get(info.reason, WorkerError)
    error = cls.__new__(cls, message)
    error.args = (message,)
    declared = _declared(cls)
    for name, text in info.metadata.items():
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if _fits(value, declared.get(name)):
            setattr(error, name, value)
    return error


def from_rpc_error(error: Any, *, worker: str, call: str) -> RftError:
    """The error to raise for a failed call: ours if the worker sent one, else what the transport says."""
    if error.code() == grpc.StatusCode.UNAUTHENTICATED:  # the worker does not know by which address it is called
        return WorkerRefusedError(
            f"the worker {worker} refused the token; give the engine the one that the worker printed when it started"
        )
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        status = None
    restored = from_status(status) if status is not None else None
    if restored is not None:
        return restored
    code, details = error.code(), error.details() or ""
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return WorkerError(f"the worker {worker} did not answer {call} in time")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return BadReplyError(
            f"a message of {call} with the worker {worker} exceeds the limit ({details}); make units smaller"
        )
    if code in _REFUSALS:
        return WorkerRefusedError(f"the worker {worker} refused {call}: {details}")
    return WorkerError(f"the worker {worker} could not be reached for {call}: {_meaning(details or code.name)[0]}")


def nobody_answers(error: Any, *, kind: str, address: str) -> WorkerError | None:
    """The error to raise where no connection to a worker that somebody else starts came about: why, and what to
    do. None if that is not what `error` says."""
    if error.code() != grpc.StatusCode.UNAVAILABLE:
        return None
    why, advice = _meaning(error.details() or error.code().name)
    advice = advice.format(kind=kind, address=address, key=_KEY_OF_KIND[kind])
    return WorkerError(f"no {kind} worker answers at {address} ({why}); {advice}")


def _meaning(details: str) -> tuple[str, str]:
    """Why no connection came about, and what to do about it."""
    for said, meaning in _CONNECT_FAILURES.items():
        if said in details:
            return meaning
    reason = details.replace(" error: ", ": ").rpartition(": ")[2].rstrip("]")
    return reason[:1].lower() + reason[1:], _START_IT
