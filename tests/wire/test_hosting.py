"""What hosts make of components that work, raise, hang or lie. No processes here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rft_core import BuildContext, Grade, Group, Outcome, SampledUnit, SampleUnit, WeightRef
from rft_core.errors import BadReplyError, ComponentError, IntegrityError, PolicyNotLoadedError
from rft_core.hosting import GraderHost, SamplerHost, host_grader
from rft_core.registry import Registry
from rft_core.replies import check_graded, check_sampled
from rft_core.types import GradedUnit
from rft_test_plugin.config import ScriptedConfig
from rft_test_plugin.graders import FunctionGrader
from rft_test_plugin.make import grade_unit, sample_unit, weight_ref
from rft_test_plugin.sampler import ScriptedSampler

REGISTRY = Registry.discover()


def sampler_host(tmp_path: Path, **config: Any) -> SamplerHost:
    return SamplerHost(REGISTRY.build("sampler", {"type": "scripted", **config}, BuildContext(base_dir=tmp_path)))


def graded(grader: str | Callable[[Group], Sequence[Grade]], timeout_s: float = 30.0, **config: Any) -> GradedUnit:
    """Three groups of two rollouts, graded by a host of 4 threads."""
    if isinstance(grader, str):
        component = REGISTRY.build("grader", {"type": grader, **config}, BuildContext(base_dir=Path()))
    else:
        component = FunctionGrader(grader)
    host = GraderHost(component, 4)
    reply = host.grade(grade_unit(timeout_s=timeout_s))
    host.close()
    return reply


def kinds(reply: GradedUnit) -> set[tuple[Outcome, str | None]]:
    return {(grade.outcome, grade.error_kind) for grades in reply.grades for grade in grades}


def test_grades_come_in_order_with_the_time_they_took() -> None:
    """Grades stand in the order of groups and rollouts, whichever thread made them."""
    before_s = time.monotonic()

    def grade(group: Group) -> list[Grade]:
        time.sleep(0.03 * (3 - group.ordinal))
        return [Grade.score(group.ordinal + rollout.sample / 10) for rollout in group.rollouts]

    reply = graded(grade)
    assert [[g.reward for g in grades] for grades in reply.grades] == [[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]]
    (busy,) = reply.busy
    assert busy.kind == "grade"
    assert before_s <= busy.start_s <= busy.end_s - 0.09 <= time.monotonic()


def test_a_grader_that_raises_gives_error_grades_that_say_where() -> None:
    """An exception is a typed grade with type, message and place; nothing is raised."""
    reply = graded("test_raising")
    assert kinds(reply) == {(Outcome.GRADER_ERROR, "python_grader_runtime_error")}
    message = reply.grades[1][0].message or ""
    assert message.startswith("ValueError: no number in k1 (graders.py, line ")


def test_a_grader_that_exits_does_not_end_its_thread() -> None:
    """sys.exit in a grader is an error grade, not a unit that never returns."""
    assert kinds(graded("test_exiting")) == {(Outcome.GRADER_ERROR, "python_grader_runtime_error")}


def test_an_answer_of_the_wrong_length_is_an_error_of_its_group() -> None:
    """One grade too few for a group makes all grades of the group errors."""
    assert kinds(graded("test_too_few")) == {(Outcome.GRADER_ERROR, "other_error")}


def test_what_is_no_grade_spoils_itself_only() -> None:
    """A string, or a metric that is NaN, becomes an error grade; its neighbours keep their scores."""

    def grade(group: Group) -> Any:
        answers: list[Any] = [Grade.score(0.5), Grade.score(0.75)]
        answers[group.ordinal % 2] = "1.0" if group.ordinal < 2 else Grade.score(0.5, metrics={"m": float("nan")})
        return answers

    reply = graded(grade)
    assert [[g.outcome for g in grades] for grades in reply.grades] == [
        [Outcome.GRADER_ERROR, Outcome.SCORE],
        [Outcome.SCORE, Outcome.GRADER_ERROR],
        [Outcome.GRADER_ERROR, Outcome.SCORE],
    ]


def test_numbers_of_other_types_become_floats() -> None:
    """Grades with numpy or int numbers look the same as if they had crossed the wire."""
    half: Any = np.float32(0.5)
    reply = graded(lambda g: [Grade(outcome=Outcome.SCORE, reward=1, metrics={"n": half}) for _ in g.rollouts])
    grade = reply.grades[0][0]
    assert type(grade.reward) is float
    assert type(grade.metrics["n"]) is float


def test_a_slow_group_times_out_alone() -> None:
    """The group that exceeds its time is timed out at about that time; the others have their scores."""
    start_s = time.monotonic()
    reply = graded("test_slow", timeout_s=0.2, delay_s=10, only_key="k1")
    assert time.monotonic() - start_s < 5
    assert [grades[0].outcome for grades in reply.grades] == [Outcome.SCORE, Outcome.TIMED_OUT, Outcome.SCORE]


def test_hung_calls_do_not_use_up_the_threads() -> None:
    """With one thread, groups after a hung one are still graded; with too many hung the host says so."""
    release = threading.Event()
    host = GraderHost(FunctionGrader(lambda g: [Grade.score(1.0)] * 2 if g.ordinal % 2 else release.wait(30) and []), 1)
    reply = host.grade(grade_unit(groups=8, timeout_s=0.1))
    assert [grades[0].outcome for grades in reply.grades] == [Outcome.TIMED_OUT, Outcome.SCORE] * 4
    assert host.exhausted
    with pytest.raises(ComponentError, match="4 calls of the grader exceeded their time"):
        host.grade(grade_unit())
    release.set()
    deadline_s = time.monotonic() + 5
    while host.exhausted and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert not host.exhausted
    host.close()


def test_submitting_does_not_wait_for_a_slow_grader() -> None:
    """What is submitted to slow threads is graded by all of them, and timed out, while the caller does other things."""
    release = threading.Event()
    host = GraderHost(FunctionGrader(lambda g: release.wait(30) and [Grade.score(1.0)] * 2), 3)
    patient, hasty = host.submit(grade_unit()), host.submit(grade_unit("g-1", groups=1, timeout_s=0.2))
    assert not patient.done()
    release.set()
    assert {grade.reward for grades in patient.result(5).grades for grade in grades} == {1.0}
    assert hasty.result(5).request_id == "g-1"
    release.clear()
    late = [host.submit(grade_unit(f"l-{n}", groups=1, timeout_s=0.1)) for n in range(2)]
    assert {future.result(5).grades[0][0].outcome for future in late} == {Outcome.TIMED_OUT}
    release.set()
    host.close()
    assert host.submit(grade_unit("empty", groups=0)).result(5).grades == ()


def test_an_instant_grader_is_asked_in_the_calling_thread() -> None:
    """No thread is made for it; its answers, and what it raises, are those of a host with threads."""
    threads = []

    def grade(group: Group) -> list[Grade]:
        threads.append(threading.current_thread())
        if group.ordinal == 1:
            raise SystemExit(3)
        return [Grade.score(group.ordinal + rollout.sample / 10) for rollout in group.rollouts]

    before = set(threading.enumerate())
    host = host_grader(FunctionGrader(grade), 4, instant=True)
    future = host.submit(grade_unit())
    assert set(threading.enumerate()) <= before
    assert future.done()
    threaded = host_grader(FunctionGrader(grade), 4, instant=False)
    assert future.result().grades == threaded.grade(grade_unit()).grades
    threaded.close()
    assert set(threads[:3]) == {threading.current_thread()} != set(threads[3:])
    (busy,) = future.result().busy
    assert busy.kind == "grade"


def test_which_graders_are_instant() -> None:
    """Those that say so, if all graders inside them do; who says nothing is not."""
    text = {"type": "string_check", "input": "a", "reference": "b", "operation": "eq"}
    assert REGISTRY.instant(text)
    assert REGISTRY.instant({"type": "length", "max": 3})
    regex = {"type": "regex", "pattern": "a"}
    assert not REGISTRY.instant(regex)
    assert REGISTRY.instant({"type": "multi", "graders": {"s": text}, "calculate_output": "s"})
    assert not REGISTRY.instant({"type": "multi", "graders": {"s": text}, "calculate_output": "s" + " + s" * 200})
    assert not REGISTRY.instant({"type": "multi", "graders": {"s": text, "r": regex}, "calculate_output": "s + r"})
    assert not REGISTRY.instant({"type": "test_text_length"})


def test_a_closed_host_leaves_no_thread() -> None:
    """The threads that grade, and the one that watches them, end with their host."""
    before = set(threading.enumerate())
    graded("test_constant")
    deadline_s = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()


def test_a_sampler_serves_the_policy_it_loaded_and_no_other(tmp_path: Path) -> None:
    """Sampling needs a loaded policy of the same number and digest."""
    first, second = weight_ref(tmp_path / "0"), weight_ref(tmp_path / "1", 1, b"\x00\x00\x00\x40")
    host = sampler_host(tmp_path)
    with pytest.raises(PolicyNotLoadedError, match="serves no policy"):
        host.sample(sample_unit(first))
    host.load_policy(first)
    reply = host.sample(sample_unit(first))
    assert (reply.policy, reply.policy_digest, reply.busy[0].kind) == (0, first.digest, "sample")
    with pytest.raises(PolicyNotLoadedError, match="asks for policy 1"):
        host.sample(sample_unit(second))


def test_changed_weights_are_not_loaded(tmp_path: Path) -> None:
    """A file that is not what the reference announces is refused, and the old policy stays."""
    good = weight_ref(tmp_path / "0")
    bad = replace(good, number=1, digest="sha256:" + "0" * 64)
    host = sampler_host(tmp_path)
    host.load_policy(good)
    with pytest.raises(IntegrityError, match="they were changed"):
        host.load_policy(bad)
    assert host.policy == good


def test_a_sampler_that_raises_is_a_component_error(tmp_path: Path) -> None:
    """The sentence names the unit, the exception and where it came from."""
    ref = weight_ref(tmp_path / "0")
    host = sampler_host(tmp_path, fault="raise")
    host.load_policy(ref)
    with pytest.raises(
        ComponentError, match=r"on unit s-0, raised RuntimeError: out of memory, says the script \(sampler.py, line"
    ):
        host.sample(sample_unit(ref))


def good_reply(tmp_path: Path) -> tuple[SampleUnit, SampledUnit]:
    ref = weight_ref(tmp_path / "0")
    unit = sample_unit(ref)
    sampler = ScriptedSampler(ScriptedConfig(), BuildContext(base_dir=tmp_path))
    return unit, sampler.sample(unit)


def spoil(reply: SampledUnit, **changes: Any) -> SampledUnit:
    """The reply with its first rollout, or the sampled segment of that, changed."""
    rollout = reply.groups[0][0]
    of_segment = {k: v for k, v in changes.items() if k in ("token_ids", "logprobs", "policy", "trained")}
    of_rollout = {k: v for k, v in changes.items() if k not in of_segment}
    segments = (rollout.segments[0], replace(rollout.segments[1], **of_segment))
    first = replace(replace(rollout, segments=segments), **of_rollout)
    return replace(reply, groups=((first, *reply.groups[0][1:]), *reply.groups[1:]))


LIES: dict[str, Callable[[SampledUnit], SampledUnit]] = {
    "another unit": lambda r: replace(r, request_id="other"),
    "another policy": lambda r: replace(r, policy=7),
    "another digest": lambda r: replace(r, policy_digest="sha256:0"),
    "a group missing": lambda r: replace(r, groups=r.groups[:1]),
    "groups swapped": lambda r: replace(r, groups=r.groups[::-1]),
    "a rollout missing": lambda r: replace(r, groups=(r.groups[0][1:], r.groups[1])),
    "a rollout twice": lambda r: replace(r, groups=((r.groups[0][0], *r.groups[0][:2]), r.groups[1])),
    "another seed": lambda r: spoil(r, seed=1),
    "an unknown end": lambda r: spoil(r, finish_reason="bored"),
    "half a character": lambda r: spoil(r, text="\ud800"),
    "a token too high": lambda r: spoil(r, token_ids=(256,) * 8),
    "a negative token": lambda r: spoil(r, token_ids=(-1,) * 8),
    "a token that is a float": lambda r: spoil(r, token_ids=(1.0,) * 8),
    "a list of tokens": lambda r: spoil(r, token_ids=[1] * 8),
    "more tokens than asked for": lambda r: spoil(r, token_ids=(1,) * 17, logprobs=(-1.0,) * 17),
    "more tokens than log-probabilities": lambda r: spoil(r, token_ids=(1,) * 9),
    "log-probability NaN": lambda r: spoil(r, logprobs=(float("nan"),) * 8),
    "log-probability -inf": lambda r: spoil(r, logprobs=(float("-inf"),) * 8),
    "log-probability beyond float32": lambda r: spoil(r, logprobs=(-1e39,) * 8),
    "log-probability above 0": lambda r: spoil(r, logprobs=(0.1,) * 8),
    "log-probability as text": lambda r: spoil(r, logprobs=("a",) * 8),
    "no log-probabilities": lambda r: spoil(r, logprobs=None),
    "tokens of another policy": lambda r: spoil(r, policy=3),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_sampler_that_lies_is_refused(lie: str, tmp_path: Path) -> None:
    """Every way in which an answer may not fit its request is a BadReplyError."""
    unit, reply = good_reply(tmp_path)
    assert check_sampled(unit, reply, vocab_size=256) is reply
    with pytest.raises(BadReplyError):
        check_sampled(unit, LIES[lie](reply), vocab_size=256)


def test_log_probabilities_are_rounded_to_float32(tmp_path: Path) -> None:
    """Doubles are rounded, so that a local sampler's answer is what a remote one's would be."""
    unit, reply = good_reply(tmp_path)
    exact = spoil(reply, logprobs=(-0.1,) * 8)
    rounded = check_sampled(unit, exact, vocab_size=256)
    assert rounded.groups[0][0].segments[1].logprobs == (float(np.float32(-0.1)),) * 8
    assert rounded.groups[1] == reply.groups[1]


def test_grades_must_fit_their_unit() -> None:
    """Another unit's grades, missing groups and missing grades are refused."""
    unit = grade_unit()
    good = GradedUnit(request_id="g-0", grades=((Grade.score(1.0),) * 2,) * 3)
    assert check_graded(unit, good) == good
    wild = Grade.score(1.0, details={"a": float("nan")})
    settled = check_graded(unit, replace(good, grades=((wild,) * 2,) * 3))
    assert {grade.error_kind for grades in settled.grades for grade in grades} == {"other_error"}
    for bad in (
        replace(good, request_id="x"),
        replace(good, grades=good.grades[:2]),
        replace(good, grades=(good.grades[0][:1],) * 3),
    ):
        with pytest.raises(BadReplyError):
            check_graded(unit, bad)


def test_a_policy_is_loaded_once(tmp_path: Path) -> None:
    """Loading the version that is served does nothing; a new place of the same bits does nothing either."""
    loads: list[WeightRef] = []

    class Counting(ScriptedSampler):
        def load_policy(self, weights: WeightRef) -> None:
            loads.append(weights)

    host = SamplerHost(Counting(ScriptedConfig(), BuildContext(base_dir=tmp_path)))
    ref = weight_ref(tmp_path / "0")
    host.load_policy(ref)
    host.load_policy(replace(ref, path="/elsewhere"))
    assert loads == [ref]
