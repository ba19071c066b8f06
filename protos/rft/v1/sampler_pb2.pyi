from rft.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoadPolicyRequest(_message.Message):
    __slots__ = ("run_id", "component_digest", "policy")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    component_digest: str
    policy: _common_pb2.WeightRef
    def __init__(self, run_id: _Optional[str] = ..., component_digest: _Optional[str] = ..., policy: _Optional[_Union[_common_pb2.WeightRef, _Mapping]] = ...) -> None: ...

class LoadPolicyResponse(_message.Message):
    __slots__ = ("policy", "busy")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    policy: _common_pb2.WeightRef
    busy: _containers.RepeatedCompositeFieldContainer[_common_pb2.Busy]
    def __init__(self, policy: _Optional[_Union[_common_pb2.WeightRef, _Mapping]] = ..., busy: _Optional[_Iterable[_Union[_common_pb2.Busy, _Mapping]]] = ...) -> None: ...

class UploadWeightsRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    chunk: UploadChunk
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., chunk: _Optional[_Union[UploadChunk, _Mapping]] = ...) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("run_id", "component_digest", "policy", "total_bytes")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    component_digest: str
    policy: _common_pb2.WeightRef
    total_bytes: int
    def __init__(self, run_id: _Optional[str] = ..., component_digest: _Optional[str] = ..., policy: _Optional[_Union[_common_pb2.WeightRef, _Mapping]] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class UploadChunk(_message.Message):
    __slots__ = ("file", "data", "sha256")
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    file: str
    data: bytes
    sha256: bytes
    def __init__(self, file: _Optional[str] = ..., data: _Optional[bytes] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class UploadWeightsResponse(_message.Message):
    __slots__ = ("policy", "busy")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    policy: _common_pb2.WeightRef
    busy: _containers.RepeatedCompositeFieldContainer[_common_pb2.Busy]
    def __init__(self, policy: _Optional[_Union[_common_pb2.WeightRef, _Mapping]] = ..., busy: _Optional[_Iterable[_Union[_common_pb2.Busy, _Mapping]]] = ...) -> None: ...

class Prompt(_message.Message):
    __slots__ = ("ordinal", "messages_json", "tools_json", "seeds")
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_JSON_FIELD_NUMBER: _ClassVar[int]
    TOOLS_JSON_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    ordinal: int
    messages_json: str
    tools_json: str
    seeds: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ordinal: _Optional[int] = ..., messages_json: _Optional[str] = ..., tools_json: _Optional[str] = ..., seeds: _Optional[_Iterable[int]] = ...) -> None: ...

class SamplingParams(_message.Message):
    __slots__ = ("temperature", "top_p", "max_tokens", "stop")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    top_p: float
    max_tokens: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., max_tokens: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ...) -> None: ...

class SampleRequest(_message.Message):
    __slots__ = ("request_id", "run_id", "component_digest", "policy", "prompts", "sampling")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    run_id: str
    component_digest: str
    policy: _common_pb2.WeightRef
    prompts: _containers.RepeatedCompositeFieldContainer[Prompt]
    sampling: SamplingParams
    def __init__(self, request_id: _Optional[str] = ..., run_id: _Optional[str] = ..., component_digest: _Optional[str] = ..., policy: _Optional[_Union[_common_pb2.WeightRef, _Mapping]] = ..., prompts: _Optional[_Iterable[_Union[Prompt, _Mapping]]] = ..., sampling: _Optional[_Union[SamplingParams, _Mapping]] = ...) -> None: ...

class SampleResponse(_message.Message):
    __slots__ = ("request_id", "policy", "policy_digest", "groups", "busy")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    policy: int
    policy_digest: str
    groups: _containers.RepeatedCompositeFieldContainer[_common_pb2.RolloutGroup]
    busy: _containers.RepeatedCompositeFieldContainer[_common_pb2.Busy]
    def __init__(self, request_id: _Optional[str] = ..., policy: _Optional[int] = ..., policy_digest: _Optional[str] = ..., groups: _Optional[_Iterable[_Union[_common_pb2.RolloutGroup, _Mapping]]] = ..., busy: _Optional[_Iterable[_Union[_common_pb2.Busy, _Mapping]]] = ...) -> None: ...
