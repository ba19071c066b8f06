from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WeightKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEIGHT_KIND_UNSPECIFIED: _ClassVar[WeightKind]
    WEIGHT_KIND_FULL: _ClassVar[WeightKind]
    WEIGHT_KIND_ADAPTER: _ClassVar[WeightKind]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
WEIGHT_KIND_UNSPECIFIED: WeightKind
WEIGHT_KIND_FULL: WeightKind
WEIGHT_KIND_ADAPTER: WeightKind
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason

class WeightRef(_message.Message):
    __slots__ = ("run_id", "lineage", "number", "digest", "kind", "path")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    lineage: str
    number: int
    digest: str
    kind: WeightKind
    path: str
    def __init__(self, run_id: _Optional[str] = ..., lineage: _Optional[str] = ..., number: _Optional[int] = ..., digest: _Optional[str] = ..., kind: _Optional[_Union[WeightKind, str]] = ..., path: _Optional[str] = ...) -> None: ...

class ModelRef(_message.Message):
    __slots__ = ("path", "device", "dtype", "adapter")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    path: str
    device: str
    dtype: str
    adapter: str
    def __init__(self, path: _Optional[str] = ..., device: _Optional[str] = ..., dtype: _Optional[str] = ..., adapter: _Optional[str] = ...) -> None: ...

class Logprobs(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("role", "token_ids", "logprobs", "trained", "policy")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    role: str
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    logprobs: Logprobs
    trained: bool
    policy: int
    def __init__(self, role: _Optional[str] = ..., token_ids: _Optional[_Iterable[int]] = ..., logprobs: _Optional[_Union[Logprobs, _Mapping]] = ..., trained: bool = ..., policy: _Optional[int] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("ordinal", "sample", "seed", "segments", "text", "finish_reason", "starts_with_shared")
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    STARTS_WITH_SHARED_FIELD_NUMBER: _ClassVar[int]
    ordinal: int
    sample: int
    seed: int
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    text: str
    finish_reason: FinishReason
    starts_with_shared: bool
    def __init__(self, ordinal: _Optional[int] = ..., sample: _Optional[int] = ..., seed: _Optional[int] = ..., segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ..., text: _Optional[str] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., starts_with_shared: bool = ...) -> None: ...

class RolloutGroup(_message.Message):
    __slots__ = ("shared", "rollouts")
    SHARED_FIELD_NUMBER: _ClassVar[int]
    ROLLOUTS_FIELD_NUMBER: _ClassVar[int]
    shared: Segment
    rollouts: _containers.RepeatedCompositeFieldContainer[Rollout]
    def __init__(self, shared: _Optional[_Union[Segment, _Mapping]] = ..., rollouts: _Optional[_Iterable[_Union[Rollout, _Mapping]]] = ...) -> None: ...

class Busy(_message.Message):
    __slots__ = ("kind", "start_s", "end_s")
    KIND_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    END_S_FIELD_NUMBER: _ClassVar[int]
    kind: str
    start_s: float
    end_s: float
    def __init__(self, kind: _Optional[str] = ..., start_s: _Optional[float] = ..., end_s: _Optional[float] = ...) -> None: ...
