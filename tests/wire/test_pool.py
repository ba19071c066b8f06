"""Pools of real worker processes: units are computed, whatever happens to the workers."""

from __future__ import annotations

import os
import random
import resource
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import BaseModel, ValidationError

from rft_core import BuildContext, Grader, GraderSpec, Outcome, Sampler
from rft_core.config.workers import WorkerConfig
from rft_core.errors import (
    BadReplyError,
    ComponentError,
    ConfigError,
    RftError,
    StopRequested,
    StorageError,
    WorkerError,
    WorkerRefusedError,
)
from rft_core.hosting import GraderHost
from rft_core.pools.adapters import PooledGrader, PooledSampler
from rft_core.pools.pool import Pool, open_pool
from rft_core.registry import Registry
from rft_core.types import GradedUnit, SampledUnit, SampleUnit
from rft_test_plugin.make import RUN_ID, grade_unit, sample_unit, weight_ref

REGISTRY = Registry.discover()
LOCAL = {"count": 1}
IN_PROCESS = {"in_process": True}


class Events:
    """What pools told, with a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []
        self._new = threading.Condition()

    def __call__(self, kind: str, event: dict[str, Any]) -> None:
        with self._new:
            self.all.append((kind, event))
            self._new.notify_all()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for name, event in self.all if name == kind]

    def wait_for(self, kind: str, count: int = 1, timeout_s: float = 15.0) -> list[dict[str, Any]]:
        with self._new:
            assert self._new.wait_for(lambda: len(self.of(kind)) >= count, timeout_s), (kind, self.all)
        return self.of(kind)


Open = Callable[..., Pool]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def opened(tmp_path: Path, events: Events) -> Iterator[Open]:
    """Opens and starts pools, and closes them after the test."""
    pools: list[Pool] = []

    def open_and_start(component: dict[str, Any], worker: dict[str, Any], kind: Any = None) -> Pool:
        pool = open_pool(
            kind or ("sampler" if component["type"] == "scripted" else "grader"),
            component,
            WorkerConfig.model_validate(worker),
            run_id=RUN_ID,
            base_dir=tmp_path,
            log_dir=tmp_path / "logs",
            on_event=events,
            registry=REGISTRY,
        )
        pools.append(pool)
        pool.start()
        return pool

    yield open_and_start
    for pool in pools:
        pool.close()


def test_local_and_remote_give_the_same(opened: Open, tmp_path: Path) -> None:
    """Rollouts and grades, errors included, are equal in this process and in one or two workers."""
    ref = weight_ref(tmp_path / "0")
    units = [sample_unit(ref, f"s-{n}") for n in range(6)]
    sampled: list[list[Any]] = []
    graded: list[list[Any]] = []
    for worker in (IN_PROCESS, LOCAL, {"count": 2}):
        sampler = opened({"type": "scripted"}, worker)
        sampler.load_policy(ref)
        futures = [sampler.submit(unit) for unit in units]
        sampled.append([replace(future.result(), busy=()) for future in futures])
        graded.append([])
        for grader in ("test_text_length", "test_raising", "test_nonsense"):
            future = opened({"type": grader}, worker).submit(grade_unit())
            graded[-1].append(replace(future.result(), busy=()))
    assert sampled[0] == sampled[1] == sampled[2]
    assert graded[0] == graded[1] == graded[2]
    assert sampled[0][0].groups[0] != sampled[0][1].groups[0]


@pytest.mark.parametrize("worker", [IN_PROCESS, LOCAL], ids=["in process", "worker"])
def test_graders_get_the_tokens_that_they_need(worker: dict[str, Any], opened: Open) -> None:
    """A grader gets tokens and log-probabilities unless it says that it needs none, wherever it runs."""
    unit = grade_unit()
    told = opened({"type": "test_tokens"}, worker).submit(unit).result()
    blind = opened({"type": "test_blind"}, worker).submit(unit).result()
    for group, of_told, of_blind in zip(unit.groups, told.grades, blind.grades, strict=True):
        for rollout, grade in zip(group.rollouts, of_told, strict=True):
            segments = [[s.role, list(s.token_ids), list(s.logprobs or ())] for s in rollout.segments]
            assert (grade.reward, grade.details) == (rollout.completion_tokens, {"segments": segments})
        assert {(grade.reward, len(grade.details["segments"])) for grade in of_blind} == {(0.0, 0)}


def test_grades_of_texts_are_those_of_whole_rollouts(opened: Open, tmp_path: Path) -> None:
    """A worker that is sent texts alone gives the grades that the grader gives with all there is."""
    unit = grade_unit(groups=3, group=12)
    similar = {"type": "text_similarity", "name": "t", "evaluation_metric": "fuzzy_match"}
    for raw in (
        {"type": "test_text_length"},
        {**similar, "input": "{{sample.output_text}}", "reference": "answer 7 to {{item.answer}}"},
        {"type": "regex", "pattern": "answer [02]"},
        {"type": "length", "unit": "characters", "max": 13, "falloff": 9},
    ):
        whole = GraderHost(REGISTRY.build("grader", raw, BuildContext(base_dir=tmp_path)))
        expected = whole.grade(unit).grades
        whole.close()
        assert len({grade.reward for grades in expected for grade in grades}) > 1
        assert opened(raw, LOCAL).submit(unit).result().grades == expected


def test_a_grader_needs_the_tokens_that_one_inside_it_needs() -> None:
    """Counting tokens inside a multi grader asks for tokens; without a declaration a grader gets them."""
    text = {"type": "string_check", "name": "s", "input": "a", "reference": "a", "operation": "eq"}
    length = {"type": "length", "name": "l", "unit": "tokens", "max": 3}
    multi = {"type": "multi", "name": "m", "calculate_output": "s + l"}
    assert not REGISTRY.needs_tokens({**multi, "graders": {"s": text, "l": {**length, "unit": "words"}}})
    assert REGISTRY.needs_tokens({**multi, "graders": {"s": text, "l": length}})
    assert REGISTRY.needs_tokens({"type": "test_constant"})
    assert GraderSpec(name="g", config=BaseModel, build=lambda *_: None, summary="").needs_tokens(None)  # type: ignore[arg-type,return-value]


def test_all_samplers_share_the_work(opened: Open, tmp_path: Path, events: Events) -> None:
    """Two samplers compute six slow units side by side: for most of the time that one computes, so does the other."""
    ref = weight_ref(tmp_path / "0")
    pool = opened({"type": "scripted", "delay_s": 0.2}, {"count": 2})
    assert pool.info.bitwise
    pool.load_policy(ref)
    start_s = time.monotonic()
    replies: list[SampledUnit] = [f.result() for f in [pool.submit(sample_unit(ref, f"s-{n}")) for n in range(6)]]
    busy = sorted((reply.busy[0] for reply in replies), key=lambda b: b.start_s)
    assert all(start_s < b.start_s < b.end_s < time.monotonic() for b in busy)
    both_s = sum(max(0.0, earlier.end_s - later.start_s) for earlier, later in pairwise(busy))
    assert both_s > 0.3, "of the 0.6 s that each of them computes"
    assert len({event["pid"] for event in events.of("worker_started")}) == 2


@pytest.mark.parametrize("worker", [LOCAL, IN_PROCESS])
def test_units_of_another_policy_get_theirs(worker: dict[str, Any], opened: Open, tmp_path: Path) -> None:
    """A unit of an older version is sampled with that version, without anybody loading it by hand."""
    first, second = weight_ref(tmp_path / "0"), weight_ref(tmp_path / "1", 1, b"\x00\x00\x00\x40")
    pool = opened({"type": "scripted"}, worker)
    pool.load_policy(second)
    old, new = pool.submit(sample_unit(first, "s-0")).result(), pool.submit(sample_unit(second, "s-1")).result()
    assert (old.policy, new.policy) == (0, 1)
    again = pool.submit(replace(sample_unit(first, "s-0"), request_id="s-0-again")).result()
    assert again.groups == old.groups


def test_a_killed_workers_units_are_computed_elsewhere(opened: Open, tmp_path: Path, events: Events) -> None:
    """SIGKILL in the middle of a unit: the unit and those behind it are computed, the worker is back in 5 s."""
    ref = weight_ref(tmp_path / "0")
    pool = opened({"type": "scripted", "delay_s": 0.3}, {"count": 2})
    pool.load_policy(ref)
    futures = [pool.submit(sample_unit(ref, f"s-{n}")) for n in range(8)]
    time.sleep(0.15)
    victim = events.of("worker_started")[0]["pid"]
    os.kill(victim, signal.SIGKILL)
    replies = [future.result(timeout=20) for future in futures]
    assert [reply.request_id for reply in replies] == [f"s-{n}" for n in range(8)]
    (died,) = events.wait_for("worker_died")
    assert (died["pid"], died["status"]) == (victim, "signal SIGKILL")
    (restarted,) = events.wait_for("worker_restarted")
    assert restarted["took_s"] < 5
    assert [event["request_id"] for event in events.of("unit_retried")] in (["s-0"], ["s-1"])
    undisturbed = opened({"type": "scripted"}, IN_PROCESS)
    undisturbed.load_policy(ref)
    for reply in replies:
        expected = undisturbed.submit(sample_unit(ref, reply.request_id)).result()
        assert reply.groups == expected.groups


def test_an_idle_worker_that_dies_is_replaced_at_once(opened: Open, tmp_path: Path, events: Events) -> None:
    """Nobody needs to call a dead worker for it to be restarted, with the current policy loaded."""
    ref = weight_ref(tmp_path / "0")
    pool = opened({"type": "scripted"}, LOCAL)
    pool.load_policy(ref)
    os.kill(events.of("worker_started")[0]["pid"], signal.SIGKILL)
    events.wait_for("worker_restarted")
    assert pool.submit(sample_unit(ref)).result(timeout=5).request_id == "s-0"
    assert events.of("unit_retried") == []


def test_a_hung_worker_is_killed_and_its_unit_done_again(opened: Open, tmp_path: Path, events: Events) -> None:
    """A unit that exceeds the call's time is computed by a fresh process."""
    ref = weight_ref(tmp_path / "0")
    pool = opened({"type": "scripted", "fault": "hang_once"}, {"count": 1, "call_timeout_s": 0.5})
    pool.load_policy(ref)
    assert pool.submit(sample_unit(ref)).result(timeout=20).request_id == "s-0"
    (died,) = events.wait_for("worker_died")
    assert died["status"] == "no answer; it was killed"


@pytest.mark.parametrize("once", [True, False])
def test_a_group_that_kills_its_grader(once: bool, opened: Open, events: Events) -> None:
    """It is tried again in a fresh process; if it kills each one, it alone gets error grades, never a score."""
    pool = opened({"type": "test_killer", "key": "k1", "once": once}, LOCAL)
    futures: list[Future[GradedUnit]] = [pool.submit(grade_unit("g-0")), pool.submit(grade_unit("g-1", groups=1))]
    bad, good = (future.result(timeout=40) for future in futures)
    assert [grades[0].outcome for grades in good.grades] == [Outcome.SCORE]
    expected = Outcome.SCORE if once else Outcome.GRADER_ERROR
    assert [grades[0].outcome for grades in bad.grades] == [Outcome.SCORE, expected, Outcome.SCORE]
    if not once:
        assert "the grader's process ended 2 times over this group" in (bad.grades[1][0].message or "")
    assert len(events.of("worker_died")) == (1 if once else 4)


def test_a_worker_that_never_comes_back_ends_the_pool(opened: Open, tmp_path: Path, events: Events) -> None:
    """When a worker dies again and again without finishing a unit, waiting units fail with its last words."""
    ref = weight_ref(tmp_path / "0")
    pool = opened({"type": "scripted", "delay_s": 30}, LOCAL)
    future = pool.submit(sample_unit(ref))
    later = pool.submit(sample_unit(ref, "s-1"))

    def kill_every_life() -> None:
        for number in range(8):
            births = events.of("worker_started") + events.of("worker_restarted")
            while len(births) <= number and not later.done():
                time.sleep(0.01)
                births = events.of("worker_started") + events.of("worker_restarted")
            if later.done():
                return
            os.kill(births[number]["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill_every_life)
    killer.start()
    wait([future, later], timeout=40)
    killer.join()
    with pytest.raises(WorkerError):
        future.result(timeout=0)
    with pytest.raises(
        WorkerError, match=r"died 6 times without finishing a unit.*signal SIGKILL.*see .*sampler-1.log"
    ):
        later.result(timeout=0)
    with pytest.raises(WorkerError, match="given up"):
        pool.submit(sample_unit(ref))


@pytest.mark.parametrize("worker", [LOCAL, IN_PROCESS])
def test_a_sampler_that_fails_fails_its_unit(worker: dict[str, Any], opened: Open, tmp_path: Path) -> None:
    """A sampler's exception and an answer that does not fit reach the caller; the pool goes on."""
    ref = weight_ref(tmp_path / "0")
    raising = opened({"type": "scripted", "fault": "raise"}, worker)
    with pytest.raises(ComponentError, match="out of memory, says the script"):
        raising.submit(sample_unit(ref)).result(timeout=10)
    short = opened({"type": "scripted", "fault": "short"}, worker)
    for name in ("s-0", "s-1"):
        with pytest.raises(BadReplyError, match="answered 1 groups to 2 prompts"):
            short.submit(sample_unit(ref, name)).result(timeout=10)


def test_too_many_hung_grades_get_a_fresh_process(opened: Open, events: Events) -> None:
    """Groups that hang are timed out; the process they clog is replaced, and the next unit is graded."""
    pool = opened({"type": "test_slow", "delay_s": 60, "only_key": "k0"}, {"count": 1, "concurrency": 1})
    replies = [pool.submit(grade_unit(f"g-{n}", groups=2, timeout_s=0.1)).result(timeout=20) for n in range(6)]
    assert all([g[0].outcome for g in r.grades] == [Outcome.TIMED_OUT, Outcome.SCORE] for r in replies)
    (died, *_) = events.wait_for("worker_died")
    assert died["status"] == "exit code 75"


def test_start_up_failures_are_sentences(tmp_path: Path) -> None:
    """A missing interpreter, an environment without the worker, and a component that cannot be built."""

    def start(component: dict[str, Any], **worker: Any) -> RftError:
        config = WorkerConfig.model_validate(worker)
        pool = open_pool(
            "sampler", component, config, run_id=RUN_ID, base_dir=tmp_path, log_dir=tmp_path / "logs", registry=REGISTRY
        )
        with pytest.raises(RftError) as error:
            pool.start()
        return error.value

    error = start({"type": "scripted"}, python="/nowhere/python")
    assert isinstance(error, ConfigError)
    assert "/nowhere/python cannot be started (No such file or directory)" in str(error)
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    error = start({"type": "scripted"}, python=str(bare))
    assert isinstance(error, ConfigError)
    assert f"the environment of {bare} lacks rft-workers; install it there, and the plugin of the sampler" in str(error)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 1\n")
    broken.chmod(0o755)
    error = start({"type": "scripted"}, python=str(broken))
    assert isinstance(error, WorkerError)
    assert "ended with exit code 1 before it was ready; its log ends with: no such library" in str(error)
    assert str(tmp_path / "logs" / "sampler-1.log") in str(error)


def test_closing_leaves_no_process(opened: Open, events: Events, tmp_path: Path) -> None:
    """After close no worker is left, although a unit was running, and closing took no grace period."""
    ref = weight_ref(tmp_path / "0")
    pool = opened({"type": "scripted", "delay_s": 20}, {"count": 2})
    futures = [pool.submit(sample_unit(ref, f"s-{n}")) for n in range(4)]
    time.sleep(0.2)
    start_s = time.monotonic()
    pool.close()
    assert time.monotonic() - start_s < 4
    deadline = time.monotonic() + 5  # the last answers come in another thread
    while not all(future.done() for future in futures) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(future.done() for future in futures)
    assert [event for event in events.of("worker_started") if psutil.pid_exists(event["pid"])] == []
    assert events.of("worker_died") == events.of("worker_restarted") == []
    with pytest.raises(WorkerError, match="is closed"):
        pool.submit(sample_unit(ref))


@pytest.mark.parametrize("worker", [LOCAL, IN_PROCESS])
def test_a_pool_can_stand_in_for_a_component(worker: dict[str, Any], opened: Open, tmp_path: Path) -> None:
    """Adapters satisfy the protocols and give what the component itself gives."""
    ref = weight_ref(tmp_path / "0")
    sampler = PooledSampler(opened({"type": "scripted"}, worker))
    grader = PooledGrader(opened({"type": "test_text_length"}, worker), run_id=RUN_ID)
    assert isinstance(sampler, Sampler)
    assert isinstance(grader, Grader)
    context = BuildContext(base_dir=tmp_path)
    sampler.load_policy(ref)
    expected = REGISTRY.build("sampler", {"type": "scripted"}, context).sample(sample_unit(ref))
    assert replace(sampler.sample(sample_unit(ref)), busy=()) == expected
    group = grade_unit().groups[0]
    assert list(grader.grade(group)) == REGISTRY.build("grader", {"type": "test_text_length"}, context).grade(group)
    sampler.close()
    grader.close()


@pytest.mark.chaos
def test_random_kills_change_nothing(opened: Open, tmp_path: Path, events: Events) -> None:
    """Workers killed at random instants for 5 s: every unit has the same result as undisturbed, nothing leaks."""
    ref = weight_ref(tmp_path / "0")
    engine = psutil.Process()
    others = set(engine.children())

    def workers() -> list[psutil.Process]:
        return [child for child in engine.children() if child not in others]

    undisturbed = opened({"type": "scripted"}, IN_PROCESS)
    pool = opened({"type": "scripted", "delay_s": 0.02}, {"count": 2})
    undisturbed.load_policy(ref)
    pool.load_policy(ref)
    files, threads = engine.num_fds(), engine.num_threads()
    draw, end_s, kills, round_ = random.Random(7), time.monotonic() + 5, 0, 0
    while time.monotonic() < end_s:
        units = [sample_unit(ref, f"s-{round_}-{n}") for n in range(16)]
        futures = [pool.submit(unit) for unit in units]
        time.sleep(draw.uniform(0.0, 0.2))
        alive = [child for child in workers() if child.status() != psutil.STATUS_ZOMBIE]
        if alive:
            draw.choice(alive).kill()
            kills += 1
        for unit, future in zip(units, futures, strict=True):
            assert future.result(timeout=20).groups == undisturbed.submit(unit).result().groups
        round_ += 1
    assert kills >= 3
    # A kill may hit a worker that is just starting, so what is awaited is calm, not a number of events.
    end_s = time.monotonic() + 10
    while (engine.num_fds() > files or len(workers()) != 2) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert len(workers()) == 2
    assert engine.num_fds() <= files
    assert engine.num_threads() <= threads
    assert len(events.of("worker_died")) + len(events.of("worker_start_failed")) >= 3


def by_hand(
    address: str, token: str, log: Path, *options: str, kind: str = "sampler", code: str = ""
) -> subprocess.Popen[str]:
    """A worker that a user started; `code` runs in its process first, and can make it misbehave."""
    start = ["-c", f"{code}\nfrom rft_workers.cli import main\nmain()"] if code else ["-m", "rft_workers"]
    process = subprocess.Popen(
        [sys.executable, *start, kind, "--listen", address, "--threads", "1", *options],
        stdout=subprocess.PIPE,
        stderr=log.open("a"),
        text=True,
        env={**os.environ, "RFT_WORKER_TOKEN": token},
    )
    assert process.stdout is not None
    assert f"{kind} on" in process.stdout.readline()
    process.stdout.close()
    return process


Hand = Callable[..., str]


@pytest.fixture
def hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hand]:
    """Starts workers by hand, ends them after the test, and tells their addresses. `again` starts the worker at an
    address anew."""
    token = secrets.token_hex(16)
    monkeypatch.setenv("RFT_WORKER_TOKEN", token)
    workers: dict[str, subprocess.Popen[str]] = {}

    def end(address: str) -> None:
        workers[address].kill()
        workers[address].wait()

    def start(*options: str, again: str = "", **more: str) -> str:
        address = again or f"unix-abstract:rft-test-{secrets.token_hex(8)}"
        if again:
            end(again)
        workers[address] = by_hand(address, token, tmp_path / "hand.log", *options, **more)
        return address

    yield start
    for address in workers:
        end(address)


def test_workers_at_an_address(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Events) -> None:
    """A TCP worker started by hand is used, and used again after it was restarted; closing leaves it alone."""
    token = secrets.token_hex(16)
    monkeypatch.setenv("RFT_WORKER_TOKEN", token)
    ref = weight_ref(tmp_path / "0")
    address = f"127.0.0.1:{20_000 + os.getpid() % 10_000}"
    worker = by_hand(address, token, tmp_path / "hand.log")
    try:
        pool = opened({"type": "scripted", "delay_s": 0.3}, {"address": address})
        pool.load_policy(ref)
        assert pool.submit(sample_unit(ref)).result(timeout=10).request_id == "s-0"
        future = pool.submit(sample_unit(ref, "s-1"))
        time.sleep(0.1)
        worker.kill()
        worker.wait()
        events.wait_for("worker_died")
        worker = by_hand(address, token, tmp_path / "hand.log")
        assert future.result(timeout=10).request_id == "s-1"
        pool.close()
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()


def test_workers_that_stay_away_end_the_pool(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no worker at any address could be reached for the bounded time, waiting units fail with a sentence."""
    monkeypatch.setattr("rft_core.pools.worker_pool.UNREACHABLE_S", 1.0)
    token = secrets.token_hex(16)
    monkeypatch.setenv("RFT_WORKER_TOKEN", token)
    address = f"unix-abstract:rft-test-{secrets.token_hex(8)}"
    worker = by_hand(address, token, tmp_path / "hand.log")
    pool = opened({"type": "scripted", "delay_s": 20}, {"address": address})
    future = pool.submit(sample_unit(weight_ref(tmp_path / "0")))
    worker.kill()
    worker.wait()
    with pytest.raises(WorkerError, match=r"none of the workers at .* could be used for 1 s.*then resume the run"):
        future.result(timeout=20)


def test_the_wrong_token_ends_the_start(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that refuses the token is not asked again and again."""
    address = f"unix-abstract:rft-test-{secrets.token_hex(8)}"
    worker = by_hand(address, secrets.token_hex(16), tmp_path / "hand.log")
    try:
        monkeypatch.setenv("RFT_WORKER_TOKEN", "wrong")
        with pytest.raises(WorkerRefusedError, match=rf"the worker sampler-1 \({address}\) refused the token; give"):
            opened({"type": "scripted"}, {"address": address})
        monkeypatch.delenv("RFT_WORKER_TOKEN")
        with pytest.raises(ConfigError, match="need a token, and the environment variable RFT_WORKER_TOKEN holds none"):
            opened({"type": "scripted"}, {"address": address})
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"address": "10.0.0.5:7070"}, "the worker at 10.0.0.5:7070 is not on this machine"),
        ({"address": "gpu-box:7070"}, "not on this machine"),
        ({"address": ["127.0.0.1:1", "10.0.0.5:7070"]}, "not on this machine"),
        ({"address": "nonsense"}, "is not an address"),
        ({"address": "::1:7070"}, "in brackets"),
        ({"address": []}, "lists no worker"),
        ({"address": "127.0.0.1:1", "python": "/usr/bin/python3"}, "exclude each other"),
        ({"address": ["127.0.0.1:1", "127.0.0.1:1"]}, "twice"),
        ({"tls_cert": "c.pem"}, "belong together"),
        ({"in_process": True, "count": 2}, "in_process excludes"),
        ({"cuont": 2}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], sentence: str) -> None:
    """Off-host addresses without TLS, and settings that contradict each other."""
    with pytest.raises(ValidationError, match=sentence):
        WorkerConfig.model_validate(settings)
    assert WorkerConfig.model_validate({"address": "10.0.0.5:7070", "tls_ca": "ca.pem"}).addresses == ("10.0.0.5:7070",)


@pytest.mark.parametrize("event", ["worker_started", "worker_died"])
def test_events_that_cannot_be_written_end_the_pool(event: str, tmp_path: Path) -> None:
    """A full disk under events.jsonl is told as that, at once, wherever it strikes; nothing waits for ever."""

    def on_event(kind: str, values: dict[str, Any]) -> None:
        if kind == event:
            raise StorageError("could not append to events.jsonl: No space left on device")

    others = set(psutil.Process().children())
    pool = open_pool(
        "sampler",
        {"type": "scripted", "delay_s": 0.5},
        WorkerConfig(),
        run_id=RUN_ID,
        base_dir=tmp_path,
        log_dir=tmp_path / "logs",
        on_event=on_event,
        registry=REGISTRY,
    )
    started: Future[None] = Future()

    def start() -> None:
        try:
            started.set_result(pool.start())
        except RftError as error:
            started.set_exception(error)

    threading.Thread(target=start, daemon=True).start()
    if event == "worker_started":
        with pytest.raises(StorageError, match="No space left"):
            started.result(timeout=20)
    else:
        started.result(timeout=20)
        future = pool.submit(sample_unit(weight_ref(tmp_path / "0")))
        time.sleep(0.2)
        for child in set(psutil.Process().children()) - others:
            child.kill()
        with pytest.raises(StorageError, match="No space left"):
            future.result(timeout=20)
        with pytest.raises(StorageError, match="No space left"):
            pool.submit(sample_unit(weight_ref(tmp_path / "0")))
    pool.close()
    assert set(psutil.Process().children()) <= others


def test_closing_while_a_worker_starts_is_not_missed(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing at the very instant at which the keeper looks at the clock, before a start and within it."""
    slots: list[Any] = []
    others = set(psutil.Process().children())
    monkeypatch.setattr("rft_core.pools.worker_pool.WorkerSlot.start", lambda slot: slots.append(slot))
    for visit in (1, 2, 3):
        pool = open_pool(
            "sampler",
            {"type": "scripted"},
            WorkerConfig(),
            run_id=RUN_ID,
            base_dir=tmp_path,
            log_dir=tmp_path / "logs",
            registry=REGISTRY,
        )
        threading.Thread(target=pool.start, daemon=True).start()
        while not slots:
            time.sleep(0.001)
        slot, visits = slots.pop(), []

        class Clock:
            sleep = staticmethod(time.sleep)

            @staticmethod
            def monotonic(slot: Any = slot, visits: list[int] = visits, visit: int = visit) -> float:
                if threading.current_thread() is slot._keeper:
                    visits.append(1)
                    if len(visits) == visit:
                        slot.begin_close()
                return time.monotonic()

        for module in ("pools.worker_slot", "remote.client"):
            monkeypatch.setattr(f"rft_core.{module}.time", Clock)
        slot._keeper.start()
        slot._keeper.join(10)
        assert not slot._keeper.is_alive()
        assert set(psutil.Process().children()) <= others
        pool.close()


def test_a_worker_that_was_restarted_while_idle_is_set_up_again(opened: Open, hand: Hand, tmp_path: Path) -> None:
    """Nobody was told that it began anew; loading the next policy finds out, and the run goes on."""
    address = hand()
    pool = opened({"type": "scripted"}, {"address": address})
    for number in range(3):
        ref = weight_ref(tmp_path / str(number), number)
        pool.load_policy(ref)
        assert pool.submit(sample_unit(ref, f"s-{number}")).result(timeout=10).policy == number
        hand(again=address)
        time.sleep(0.5)  # the connection comes back by itself


def test_two_runs_share_a_worker_that_keeps_one_component(opened: Open, hand: Hand, tmp_path: Path) -> None:
    """They displace each other's sampler again and again, which costs time and nothing else."""
    address = hand("--max-components", "1")
    pools = [opened({"type": "scripted", "tokens": tokens}, {"address": address}) for tokens in (3, 5)]
    for number in range(3):
        ref = weight_ref(tmp_path / str(number), number)
        for pool, tokens in zip(pools, (3, 5), strict=True):
            pool.load_policy(ref)
            reply = pool.submit(sample_unit(ref, f"s-{number}")).result(timeout=10)
            assert len(reply.groups[0][0].segments[1].token_ids) == tokens


@pytest.mark.parametrize("groups", [1, 3, 12])
@pytest.mark.parametrize("worker", [{"in_process": True}, {"count": 1}, {"count": 3}])
def test_graders_are_kept_at_work(worker: dict[str, Any], groups: int, opened: Open) -> None:
    """As many groups are graded at the same time as the setting says, in every worker, whatever the size of a
    unit: 72 groups of 0.4 s, 12 at a time and worker, take as long as that and not as the units do one by one."""
    pool = opened({"type": "test_slow", "delay_s": 0.4}, {**worker, "concurrency": 12})
    start_s = time.monotonic()
    wait([pool.submit(grade_unit(f"g-{n}", groups=groups)) for n in range(72 // groups)])
    least_s = 0.4 * 72 / (12 * worker.get("count", 1))
    assert least_s <= time.monotonic() - start_s < 2 * least_s + 1.5


def test_units_of_all_sizes_are_graded(opened: Open) -> None:
    """Lanes that wait because their worker has enough to do are woken when it has room: no unit is left behind."""
    pool = opened({"type": "test_slow", "delay_s": 0.01}, {"count": 2, "concurrency": 6})
    sizes = random.Random(7).choices((1, 2, 9, 20), k=200)
    futures = [pool.submit(grade_unit(f"g-{n}", groups=size)) for n, size in enumerate(sizes)]
    assert [len(future.result(timeout=60).grades) for future in futures] == sizes


def test_a_grader_that_takes_one_group_at_a_time_is_given_the_time(
    opened: Open, hand: Hand, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker says how many groups it grades at once; the engine's own setting is for workers that it starts."""
    monkeypatch.setattr("rft_core.pools.worker_pool.GRADE_SLACK_S", 0.5)
    address = hand("--concurrency", "1", kind="grader")
    pool = opened({"type": "test_slow", "delay_s": 0.25}, {"address": address, "concurrency": 8})
    futures = [pool.submit(grade_unit(f"g-{n}", groups=4, timeout_s=0.5)) for n in range(3)]
    for future in futures:
        assert [grades[0].outcome for grades in future.result(timeout=20).grades] == [Outcome.SCORE] * 4
    assert events.of("worker_died") == []


def test_workers_of_this_machine_are_reached_without_a_proxy(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """http_proxy in the environment is for other machines."""
    token = secrets.token_hex(16)
    monkeypatch.setenv("RFT_WORKER_TOKEN", token)
    address = f"127.0.0.1:{30_000 + os.getpid() % 10_000}"
    worker = by_hand(address, token, tmp_path / "hand.log")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    try:
        for where in ({"address": address}, LOCAL):
            pool = opened({"type": "scripted"}, where)
            assert pool.submit(sample_unit(weight_ref(tmp_path / "0"))).result(timeout=10).request_id == "s-0"
    finally:
        worker.kill()
        worker.wait()


def test_credentials_that_cannot_be_are_sentences(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that no header can carry, and a file that holds no certificate."""
    for token in ("gehéim" * 4, "a" * 20 + "\n" + "b" * 20):
        monkeypatch.setenv("RFT_WORKER_TOKEN", token)
        with pytest.raises(ConfigError, match="must be one line of ASCII characters"):
            opened({"type": "scripted"}, {"address": "127.0.0.1:9"})
    monkeypatch.setenv("RFT_WORKER_TOKEN", "a" * 20)
    for content in ("", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        (tmp_path / "ca.pem").write_text(content)
        with pytest.raises(ConfigError, match=r"ca\.pem holds no PEM certificate"):
            opened({"type": "scripted"}, {"address": "10.0.0.5:9", "tls_ca": "ca.pem"})


def test_workers_start_although_many_files_are_open(opened: Open, tmp_path: Path) -> None:
    """File descriptors beyond 1,023 are as good as others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_048:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        pool = opened({"type": "scripted"}, LOCAL)
        assert pool.submit(sample_unit(weight_ref(tmp_path / "0"))).result(timeout=10).request_id == "s-0"
        pool.close()
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_workers_see_no_secret_that_they_do_not_need(
    opened: Open, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samplers get caches and no secrets; graders may be judges and keep their keys, but no worker's token."""
    values = {
        "RFT_WORKER_TOKEN": "x" * 20,
        "RFT_GRADER_TOKEN": "x" * 20,
        "MY_TOKEN": "x" * 20,
        "HF_TOKEN": "hf",
        "OPENAI_API_KEY": "sk",
        "AWS_SECRET_ACCESS_KEY": "aws",
        "HF_HOME": "/cache",
        "HF_HUB_OFFLINE": "1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    seen = {}
    for kind, component in (("sampler", "scripted"), ("grader", "test_constant")):
        opened({"type": component}, {"count": 1, "token_env": "MY_TOKEN"})
        pid = events.of("worker_started")[-1]["pid"]
        environment = dict(
            line.split("=", 1) for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in line
        )
        seen[kind] = {name for name in values if name in environment}
        assert environment["PATH"] == os.environ["PATH"]
    assert seen["sampler"] == {"HF_HOME", "HF_HUB_OFFLINE"}
    assert seen["grader"] == {"HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"}


def misbehaving(change: str = "pass", seconds: float = 0.0) -> str:
    """Code for the process of a sampler worker that is slow, or spoils what its component answered."""
    return f"""
import time
from rft_workers import services
real = services._sample
def spoilt(host, request):
    time.sleep({seconds})
    reply = real(host, request)
    for group in reply.groups:
        for rollout in group.rollouts:
            {change}
    return reply
services._sample = spoilt
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools hedge after 0.3 s rather than 5."""
    monkeypatch.setattr("rft_core.pools.pool_jobs.HEDGE_AFTER_S", 0.3)
    monkeypatch.setattr("rft_core.pools.worker_pool.HEDGE_POLL_S", 0.05)


def expected(opened: Open, component: dict[str, Any], units: list[SampleUnit]) -> list[Any]:
    """What a sampler in this process answers."""
    alone = opened(component, IN_PROCESS)
    return [alone.submit(unit).result().groups for unit in units]


@pytest.mark.usefixtures("impatient")
def test_a_straggler_is_hedged(opened: Open, hand: Hand, tmp_path: Path, events: Events) -> None:
    """A worker a hundred times slower than the other holds nothing up: not its unit, not the next policy, and the
    results are the same. Its late answer is the same too, so nobody hears of it."""
    pool = opened({"type": "scripted"}, {"address": [hand(code=misbehaving(seconds=6)), hand()]})
    start_s = time.monotonic()
    rounds = []
    for number in range(2):
        ref = weight_ref(tmp_path / str(number), number)
        pool.load_policy(ref)
        units = [sample_unit(ref, f"s-{number}-{n}") for n in range(8)]
        rounds.append((units, [f.result(timeout=20).groups for f in [pool.submit(unit) for unit in units]]))
    assert time.monotonic() - start_s < 6
    for units, replies in rounds:
        assert replies == expected(opened, {"type": "scripted"}, units)
    (hedged,) = events.of("unit_hedged")
    assert hedged["request_id"].startswith("s-0-")
    assert hedged["worker"].startswith("sampler-2")
    # The slow one comes to itself, gets the new policy for its next unit, and is hedged again.
    time.sleep(6.5)
    futures = [pool.submit(sample_unit(ref, f"s-2-{n}")) for n in range(4)]
    assert {future.result(timeout=20).policy for future in futures} == {1}
    assert events.of("late_answer_differs") == events.of("unit_retried") == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("jitter", [False, True])
def test_a_late_answer_that_differs_is_told(
    jitter: bool, opened: Open, hand: Hand, tmp_path: Path, events: Events
) -> None:
    """Two bitwise samplers must agree; of others the first answer counts and the second says nothing."""
    late = hand(code=misbehaving("rollout.text += ' and so on'", seconds=1))
    pool = opened({"type": "scripted", "jitter": jitter}, {"address": [late, hand()]})
    ref = weight_ref(tmp_path / "0")
    replies = [f.result(timeout=20) for f in [pool.submit(sample_unit(ref, f"s-{n}")) for n in range(4)]]
    assert not any("and so on" in group[0].text for reply in replies for group in reply.groups)
    (hedged,) = events.wait_for("unit_hedged")
    if jitter:
        time.sleep(1.5)
        assert events.of("late_answer_differs") == []
    else:
        (differs,) = events.wait_for("late_answer_differs")
        assert differs["request_id"] == hedged["request_id"]
        assert differs["worker"].startswith("sampler-1")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("hedge", [None, True])
def test_graders_are_hedged_only_on_request(hedge: bool | None, tmp_path: Path, events: Events) -> None:
    """Grading twice may cost money."""
    pool = open_pool(
        "grader",
        {"type": "test_slow", "delay_s": 1.5, "only_key": "k1"},
        WorkerConfig(count=2, hedge=hedge),
        run_id=RUN_ID,
        base_dir=tmp_path,
        log_dir=tmp_path / "logs",
        on_event=events,
        registry=REGISTRY,
    )
    with pool:
        pool.submit(grade_unit("g-0", groups=1)).result(timeout=10)
        reply: GradedUnit = pool.submit(grade_unit("g-1", groups=2)).result(timeout=10)
    assert [grades[0].outcome for grades in reply.grades] == [Outcome.SCORE] * 2
    assert len(events.of("unit_hedged")) == (1 if hedge else 0)


@pytest.mark.parametrize(
    "change",
    [
        "rollout.seed += 1",
        "rollout.sample += 1",
        "rollout.segments[-1].token_ids[0] = 10**6",
        "rollout.segments[-1].logprobs.values[0] = 0.5",
        "rollout.segments[-1].logprobs.values[0] = float('nan')",
        "rollout.segments[-1].policy += 1",
        "del rollout.segments[-1].logprobs.values[0]",
        "reply.policy_digest = 'sha256:0'",
        "reply.request_id = 's-999'",
    ],
)
def test_a_worker_that_lies_is_taken_out(change: str, opened: Open, hand: Hand, tmp_path: Path, events: Events) -> None:
    """Two answers that fail the checks are enough; the others compute everything, and the results are the same."""
    liar = hand(code=misbehaving(change))
    pool = opened({"type": "scripted", "delay_s": 0.02}, {"address": [liar, hand()]})
    ref = weight_ref(tmp_path / "0")
    units = [sample_unit(ref, f"s-{n}") for n in range(20)]
    futures = [pool.submit(unit) for unit in units]
    assert [f.result(timeout=20).groups for f in futures] == expected(opened, {"type": "scripted"}, units)
    (taken_out,) = events.wait_for("worker_quarantined")
    assert liar in taken_out["worker"]
    assert "2 of its answers failed the checks; the last: " in taken_out["error"]
    assert len(events.of("unit_retried")) == 2
    assert events.of("worker_died") == events.of("worker_lost") == []


def test_a_pool_of_liars_ends_with_a_sentence(opened: Open, hand: Hand, tmp_path: Path, events: Events) -> None:
    """When the last worker is taken out, what waits fails with the reason."""
    liar = hand(code=misbehaving("rollout.seed += 1"))
    pool = opened({"type": "scripted"}, {"address": liar})
    ref = weight_ref(tmp_path / "0")
    futures = [pool.submit(sample_unit(ref, f"s-{n}")) for n in range(3)]
    for future in futures:
        with pytest.raises(BadReplyError, match=r"was taken out, because 2 of its answers failed the checks; .* seed"):
            future.result(timeout=20)
    with pytest.raises(BadReplyError, match="was taken out"):
        pool.submit(sample_unit(ref))
    assert len(events.of("worker_quarantined")) == 1


def test_a_pool_that_was_closed_starts_nothing(tmp_path: Path) -> None:
    """A stop can close it before the thread that is to start it runs; nobody would end its workers."""
    pool = open_pool(
        "grader",
        {"type": "test_text_length"},
        WorkerConfig(),
        run_id=RUN_ID,
        base_dir=tmp_path,
        log_dir=tmp_path / "logs",
        registry=REGISTRY,
    )
    pool.close()
    with pytest.raises(StopRequested):
        pool.start()
    assert not list((tmp_path / "logs").glob("*")), "no worker was started"
