from rft.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ComponentKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPONENT_KIND_UNSPECIFIED: _ClassVar[ComponentKind]
    COMPONENT_KIND_SAMPLER: _ClassVar[ComponentKind]
    COMPONENT_KIND_GRADER: _ClassVar[ComponentKind]
COMPONENT_KIND_UNSPECIFIED: ComponentKind
COMPONENT_KIND_SAMPLER: ComponentKind
COMPONENT_KIND_GRADER: ComponentKind

class GetInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("protocol_release", "kind", "version", "pid", "boot_id", "capabilities", "concurrency", "components")
    PROTOCOL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    protocol_release: int
    kind: ComponentKind
    version: str
    pid: int
    boot_id: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    concurrency: int
    components: _containers.RepeatedCompositeFieldContainer[ServedComponent]
    def __init__(self, protocol_release: _Optional[int] = ..., kind: _Optional[_Union[ComponentKind, str]] = ..., version: _Optional[str] = ..., pid: _Optional[int] = ..., boot_id: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ..., concurrency: _Optional[int] = ..., components: _Optional[_Iterable[_Union[ServedComponent, _Mapping]]] = ...) -> None: ...

class ServedComponent(_message.Message):
    __slots__ = ("run_id", "component_digest", "type", "distribution", "distribution_version", "policy")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTION_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    component_digest: str
    type: str
    distribution: str
    distribution_version: str
    policy: _common_pb2.WeightRef
    def __init__(self, run_id: _Optional[str] = ..., component_digest: _Optional[str] = ..., type: _Optional[str] = ..., distribution: _Optional[str] = ..., distribution_version: _Optional[str] = ..., policy: _Optional[_Union[_common_pb2.WeightRef, _Mapping]] = ...) -> None: ...

class ConfigureRequest(_message.Message):
    __slots__ = ("protocol_release", "kind", "run_id", "config_json", "component_digest", "base_dir", "model", "seed")
    PROTOCOL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BASE_DIR_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    protocol_release: int
    kind: ComponentKind
    run_id: str
    config_json: str
    component_digest: str
    base_dir: str
    model: _common_pb2.ModelRef
    seed: int
    def __init__(self, protocol_release: _Optional[int] = ..., kind: _Optional[_Union[ComponentKind, str]] = ..., run_id: _Optional[str] = ..., config_json: _Optional[str] = ..., component_digest: _Optional[str] = ..., base_dir: _Optional[str] = ..., model: _Optional[_Union[_common_pb2.ModelRef, _Mapping]] = ..., seed: _Optional[int] = ...) -> None: ...

class ConfigureResponse(_message.Message):
    __slots__ = ("component", "sampler", "facts")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    component: ServedComponent
    sampler: SamplerInfo
    facts: _containers.ScalarMap[str, str]
    def __init__(self, component: _Optional[_Union[ServedComponent, _Mapping]] = ..., sampler: _Optional[_Union[SamplerInfo, _Mapping]] = ..., facts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SamplerInfo(_message.Message):
    __slots__ = ("bitwise", "fingerprint", "vocab_size", "max_context")
    BITWISE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    VOCAB_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    bitwise: bool
    fingerprint: str
    vocab_size: int
    max_context: int
    def __init__(self, bitwise: bool = ..., fingerprint: _Optional[str] = ..., vocab_size: _Optional[int] = ..., max_context: _Optional[int] = ...) -> None: ...
