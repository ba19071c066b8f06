from rft.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_SCORE: _ClassVar[Outcome]
    OUTCOME_ABSTAINED: _ClassVar[Outcome]
    OUTCOME_SAMPLE_INVALID: _ClassVar[Outcome]
    OUTCOME_GRADER_ERROR: _ClassVar[Outcome]
    OUTCOME_TIMED_OUT: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_SCORE: Outcome
OUTCOME_ABSTAINED: Outcome
OUTCOME_SAMPLE_INVALID: Outcome
OUTCOME_GRADER_ERROR: Outcome
OUTCOME_TIMED_OUT: Outcome

class Item(_message.Message):
    __slots__ = ("key", "index", "row_json")
    KEY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ROW_JSON_FIELD_NUMBER: _ClassVar[int]
    key: str
    index: int
    row_json: str
    def __init__(self, key: _Optional[str] = ..., index: _Optional[int] = ..., row_json: _Optional[str] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("ordinal", "item", "rollouts", "texts")
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    ROLLOUTS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    ordinal: int
    item: Item
    rollouts: _common_pb2.RolloutGroup
    texts: RolloutTexts
    def __init__(self, ordinal: _Optional[int] = ..., item: _Optional[_Union[Item, _Mapping]] = ..., rollouts: _Optional[_Union[_common_pb2.RolloutGroup, _Mapping]] = ..., texts: _Optional[_Union[RolloutTexts, _Mapping]] = ...) -> None: ...

class RolloutTexts(_message.Message):
    __slots__ = ("ordinals", "samples", "seeds", "texts", "finish_reasons")
    ORDINALS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASONS_FIELD_NUMBER: _ClassVar[int]
    ordinals: _containers.RepeatedScalarFieldContainer[int]
    samples: _containers.RepeatedScalarFieldContainer[int]
    seeds: _containers.RepeatedScalarFieldContainer[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    finish_reasons: _containers.RepeatedScalarFieldContainer[_common_pb2.FinishReason]
    def __init__(self, ordinals: _Optional[_Iterable[int]] = ..., samples: _Optional[_Iterable[int]] = ..., seeds: _Optional[_Iterable[int]] = ..., texts: _Optional[_Iterable[str]] = ..., finish_reasons: _Optional[_Iterable[_Union[_common_pb2.FinishReason, str]]] = ...) -> None: ...

class GradeRequest(_message.Message):
    __slots__ = ("request_id", "run_id", "component_digest", "groups", "timeout_s")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    run_id: str
    component_digest: str
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    timeout_s: float
    def __init__(self, request_id: _Optional[str] = ..., run_id: _Optional[str] = ..., component_digest: _Optional[str] = ..., groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class Grade(_message.Message):
    __slots__ = ("outcome", "reward", "error_kind", "message", "sub_rewards", "metrics", "details_json", "usage", "faults")
    class SubRewardsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class UsageEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: TokenUsage
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[TokenUsage, _Mapping]] = ...) -> None: ...
    class FaultsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    ERROR_KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SUB_REWARDS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_JSON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    reward: float
    error_kind: str
    message: str
    sub_rewards: _containers.ScalarMap[str, float]
    metrics: _containers.ScalarMap[str, float]
    details_json: str
    usage: _containers.MessageMap[str, TokenUsage]
    faults: _containers.ScalarMap[str, str]
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ..., reward: _Optional[float] = ..., error_kind: _Optional[str] = ..., message: _Optional[str] = ..., sub_rewards: _Optional[_Mapping[str, float]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., details_json: _Optional[str] = ..., usage: _Optional[_Mapping[str, TokenUsage]] = ..., faults: _Optional[_Mapping[str, str]] = ...) -> None: ...

class TokenUsage(_message.Message):
    __slots__ = ("prompt_tokens", "completion_tokens", "cached_tokens", "calls")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    calls: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., calls: _Optional[int] = ...) -> None: ...

class GradeGroup(_message.Message):
    __slots__ = ("grades", "rewards")
    GRADES_FIELD_NUMBER: _ClassVar[int]
    REWARDS_FIELD_NUMBER: _ClassVar[int]
    grades: _containers.RepeatedCompositeFieldContainer[Grade]
    rewards: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, grades: _Optional[_Iterable[_Union[Grade, _Mapping]]] = ..., rewards: _Optional[_Iterable[float]] = ...) -> None: ...

class GradeResponse(_message.Message):
    __slots__ = ("request_id", "groups", "busy")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    groups: _containers.RepeatedCompositeFieldContainer[GradeGroup]
    busy: _containers.RepeatedCompositeFieldContainer[_common_pb2.Busy]
    def __init__(self, request_id: _Optional[str] = ..., groups: _Optional[_Iterable[_Union[GradeGroup, _Mapping]]] = ..., busy: _Optional[_Iterable[_Union[_common_pb2.Busy, _Mapping]]] = ...) -> None: ...
