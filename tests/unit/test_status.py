"""Every error of the catalogue crosses the wire as itself."""

from __future__ import annotations

import json

import grpc
import pytest
from google.rpc import error_details_pb2

from rft_core.errors import ConfigError, DataError, RftError, UnknownNameError, WorkerBusyError, error_classes
from rft_core.remote.status import CODE_OF_REASON, from_status, to_status


def test_every_reason_has_a_code_and_no_code_lacks_a_reason() -> None:
    """The table of status codes and the error catalogue name the same reasons."""
    assert set(CODE_OF_REASON) == set(error_classes())


def instance(cls: type[RftError]) -> RftError:
    """Some error of this class."""
    if cls is UnknownNameError:
        return UnknownNameError("grader", "multy", ["multi"], where="grader.type")
    if cls is ConfigError:
        return ConfigError("top_p must be at most 1", where="sampling.top_p")
    if cls is DataError:
        return DataError("the prompt is too long", hint="shorten it", ordinal=3)
    if cls is WorkerBusyError:
        return WorkerBusyError("full", retry_after_s=1.5)
    return cls(f"{cls.__name__} says what failed, ümläuts included")


@pytest.mark.parametrize("reason", sorted(error_classes()))
def test_errors_come_back_as_themselves(reason: str) -> None:
    """Class, sentence and attributes survive, under a status that is not OK."""
    error = instance(error_classes()[reason])
    status = to_status(error)
    restored = from_status(status)
    assert type(restored) is type(error)
    assert str(restored) == str(error)
    assert vars(restored) == vars(error)
    assert status.code not in (grpc.StatusCode.OK.value[0], None)


@pytest.mark.parametrize("reason", sorted(error_classes()))
def test_a_worker_sets_no_attribute_that_the_class_lacks(reason: str) -> None:
    """Metadata cannot change an exit code, a reason or a method, nor give an attribute another type."""
    cls = error_classes()[reason]
    names = ["exit_code", "reason", "args", "where", "line", "with_traceback", "__class__", "anything"]
    info = error_details_pb2.ErrorInfo(reason=reason, domain="rft-engine", metadata={n: json.dumps([0]) for n in names})
    status = to_status(instance(cls))
    for value in ([0], 0, "x", None):
        for name in names:
            info.metadata[name] = json.dumps(value)
        status.details[0].Pack(info)
        restored = from_status(status)
        assert restored is not None
        assert (restored.reason, restored.exit_code) == (reason, cls.exit_code)
        assert set(vars(restored)) <= {"where", "line", "retry_after_s"}
        assert isinstance(getattr(restored, "line", None), int | None)
        assert isinstance(getattr(restored, "where", None), str | None)


def test_foreign_statuses_are_not_ours() -> None:
    """A status without our ErrorInfo gives no error of ours."""
    status = to_status(ConfigError("x"))
    status.details.pop()
    assert from_status(status) is None
