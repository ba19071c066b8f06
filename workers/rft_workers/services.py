"""The services of `rft.v1`: they convert, find the component, and run it in the worker's threads."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from rft.v1 import grader_pb2, grader_pb2_grpc, sampler_pb2, sampler_pb2_grpc, worker_pb2, worker_pb2_grpc
from rft_core.errors import WorkerRefusedError
from rft_core.hosting import InstantGraderHost, SamplerHost
from rft_core.remote import convert
from rft_core.remote.handshake import CAN_UPLOAD, KIND_TO_PROTO, PROTOCOL_RELEASE, boot_id
from rft_core.types import GradedUnit, WeightRef
from rft_workers import __version__
from rft_workers.components import Components, Served
from rft_workers.units import Units
from rft_workers.uploads import Uploads
from rft_workers.wire_errors import wire_errors

Record = TypeVar("Record")


def read(function: Callable[[Any], Record], message: Any) -> Record:
    """A record from a request's message; WorkerRefusedError if it cannot be read."""
    try:
        return function(message)
    except (ValueError, TypeError) as error:
        raise WorkerRefusedError(f"the request cannot be read: {error}") from None


@contextmanager
def using(served: Served) -> Iterator[None]:
    """It is not closed meanwhile."""
    served.users += 1
    try:
        yield
    finally:
        served.users -= 1


def unit_key(served: Served, request: Any) -> tuple[str, ...]:
    """Names a unit by its id and its content: a resumed run may ask under an old id for something else."""
    content = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    return (*served.key, request.request_id, content)


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """Handshake and set-up."""

    def __init__(self, components: Components, concurrency: int) -> None:
        self._components, self._concurrency = components, concurrency

    @wire_errors
    async def GetInfo(self, request: worker_pb2.GetInfoRequest, context: Any) -> worker_pb2.GetInfoResponse:  # noqa: N802
        kind = self._components.kind
        return worker_pb2.GetInfoResponse(
            protocol_release=PROTOCOL_RELEASE,
            kind=KIND_TO_PROTO[kind],
            version=__version__,
            pid=os.getpid(),
            boot_id=boot_id(),
            capabilities=[CAN_UPLOAD] if kind == "sampler" else [],
            concurrency=self._concurrency,
            components=[served.to_proto() for served in self._components.all()],
        )

    @wire_errors
    async def Configure(self, request: worker_pb2.ConfigureRequest, context: Any) -> worker_pb2.ConfigureResponse:  # noqa: N802
        served = await self._components.configure(request)
        info = convert.info_to_proto(served.host.info()) if isinstance(served.host, SamplerHost) else None
        return worker_pb2.ConfigureResponse(component=served.to_proto(), sampler=info, facts=served.facts)


class SamplerService(sampler_pb2_grpc.SamplerServiceServicer):
    """Sampling. One thread owns all samplers of the process: units and loads never overlap."""

    def __init__(self, components: Components, units: Units, uploads: Uploads) -> None:
        self._components, self._units, self._uploads = components, units, uploads

    async def _load(self, served: Served, ref: WeightRef) -> dict[str, Any]:
        """Load, and the fields of the answer."""
        host: Any = served.host
        busy = await asyncio.shield(self._components.start(served, partial(host.load_policy, ref)))
        return {"policy": convert.weights_to_proto(ref), "busy": convert.busy_to_proto(busy)}

    @wire_errors
    async def LoadPolicy(self, request: sampler_pb2.LoadPolicyRequest, context: Any) -> sampler_pb2.LoadPolicyResponse:  # noqa: N802
        served = self._components.get(request.run_id, request.component_digest)
        ref = read(convert.weights_from_proto, request.policy)
        return sampler_pb2.LoadPolicyResponse(**await self._load(served, ref))

    @wire_errors
    async def UploadWeights(  # noqa: N802
        self, request: AsyncIterator[sampler_pb2.UploadWeightsRequest], context: Any
    ) -> sampler_pb2.UploadWeightsResponse:
        first = await anext(request, None)
        if first is None or not first.HasField("header"):
            raise WorkerRefusedError("an upload must begin with its header")
        served = self._components.get(first.header.run_id, first.header.component_digest)
        upload = read(self._uploads.open, first.header)
        loop = asyncio.get_running_loop()
        with using(served):
            try:
                async for message in request:
                    await loop.run_in_executor(None, upload.write, message.chunk)
                answer = await self._load(served, upload.finish())
            except BaseException:
                upload.discard()
                raise
            self._uploads.keep(*served.key, upload.folder)
        return sampler_pb2.UploadWeightsResponse(**answer)

    @wire_errors
    async def Sample(self, request: sampler_pb2.SampleRequest, context: Any) -> sampler_pb2.SampleResponse:  # noqa: N802
        served = self._components.get(request.run_id, request.component_digest)
        host: Any = served.host
        start = partial(self._components.start, served, partial(_sample, host, request))
        reply: sampler_pb2.SampleResponse = await self._units.run(unit_key(served, request), start)
        return reply


def _sample(host: SamplerHost, request: sampler_pb2.SampleRequest) -> sampler_pb2.SampleResponse:
    return convert.sample_response(host.sample(read(convert.sample_unit, request)))


class GraderService(grader_pb2_grpc.GraderServiceServicer):
    """Grading."""

    def __init__(self, components: Components, units: Units, on_exhausted: Callable[[], None]) -> None:
        self._components, self._units, self._on_exhausted = components, units, on_exhausted

    @wire_errors
    async def Grade(self, request: grader_pb2.GradeRequest, context: Any) -> grader_pb2.GradeResponse:  # noqa: N802
        served = self._components.get(request.run_id, request.component_digest)
        host: Any = served.host
        key = unit_key(served, request)
        reply: grader_pb2.GradeResponse
        if isinstance(host, InstantGraderHost):
            reply = self._units.run_now(
                key, lambda: convert.grade_response(host.grade(read(convert.grade_unit, request)))
            )
            return reply

        def start() -> asyncio.Future[Any]:
            graded = host.submit(read(convert.grade_unit, request))
            return self._components.track(served, _answer(graded))

        try:
            reply = await self._units.run(key, start)
        finally:
            if host.exhausted:
                self._on_exhausted()
        return reply


def _answer(graded: Future[GradedUnit]) -> asyncio.Future[grader_pb2.GradeResponse]:
    """The answer with the grades. Threads are for graders, which may block; what a conversion takes is less than
    what handing it to a thread would."""
    if not graded.done():
        return asyncio.ensure_future(_later_answer(graded))
    answer: asyncio.Future[grader_pb2.GradeResponse] = asyncio.get_running_loop().create_future()
    answer.set_result(convert.grade_response(graded.result()))
    return answer


async def _later_answer(graded: Future[GradedUnit]) -> grader_pb2.GradeResponse:
    return convert.grade_response(await asyncio.wrap_future(graded))
