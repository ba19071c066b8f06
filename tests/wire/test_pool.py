"""Pools of real worker processes: units are computed, whatever happens to the workers."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from rft_core import BuildContext, Grader, Outcome, Sampler
from rft_core.config.workers import WorkerConfig
from rft_core.errors import BadReplyError, ComponentError, ConfigError, RftError, WorkerError, WorkerRefusedError
from rft_core.pools.adapters import PooledGrader, PooledSampler
from rft_core.pools.pool import Pool, open_pool
from rft_core.registry import Registry
from rft_core.types import GradedUnit, SampledUnit
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


def test_all_samplers_share_the_work(opened: Open, tmp_path: Path, events: Events) -> None:
    """Two samplers compute six slow units in about half the time, and their busy intervals overlap."""
    ref = weight_ref(tmp_path / "0")
    pool = opened({"type": "scripted", "delay_s": 0.2}, {"count": 2})
    assert pool.info.bitwise
    pool.load_policy(ref)
    start_s = time.monotonic()
    replies: list[SampledUnit] = [f.result() for f in [pool.submit(sample_unit(ref, f"s-{n}")) for n in range(6)]]
    assert time.monotonic() - start_s < 1.1
    busy = sorted((reply.busy[0] for reply in replies), key=lambda b: b.start_s)
    assert all(start_s < b.start_s < b.end_s < time.monotonic() for b in busy)
    assert busy[1].start_s < busy[0].end_s
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
    assert isinstance(error, WorkerError)
    assert "ended with exit code 1 before it was ready" in str(error)
    assert "No module named rft_workers" in str(error)
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
    undisturbed = opened({"type": "scripted"}, IN_PROCESS)
    pool = opened({"type": "scripted", "delay_s": 0.02}, {"count": 2})
    undisturbed.load_policy(ref)
    pool.load_policy(ref)
    engine = psutil.Process()
    files, threads = engine.num_fds(), engine.num_threads()
    draw, end_s, kills, round_ = random.Random(7), time.monotonic() + 5, 0, 0
    while time.monotonic() < end_s:
        units = [sample_unit(ref, f"s-{round_}-{n}") for n in range(16)]
        futures = [pool.submit(unit) for unit in units]
        time.sleep(draw.uniform(0.0, 0.2))
        alive = [child for child in engine.children() if child.status() != psutil.STATUS_ZOMBIE]
        if alive:
            draw.choice(alive).kill()
            kills += 1
        for unit, future in zip(units, futures, strict=True):
            assert future.result(timeout=20).groups == undisturbed.submit(unit).result().groups
        round_ += 1
    assert kills >= 3
    # A kill may hit a worker that is just starting, so what is awaited is calm, not a number of events.
    end_s = time.monotonic() + 10
    while (engine.num_fds() > files or len(engine.children()) != 2) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert len(engine.children()) == 2
    assert engine.num_fds() <= files
    assert engine.num_threads() <= threads
    assert len(events.of("worker_died")) + len(events.of("worker_start_failed")) >= 3


def by_hand(address: str, token: str, log: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "rft_workers", "sampler", "--listen", address, "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=log.open("a"),
        text=True,
        env={**os.environ, "RFT_WORKER_TOKEN": token},
    )
    assert process.stdout is not None
    assert "sampler on" in process.stdout.readline()
    process.stdout.close()
    return process


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
        with pytest.raises(WorkerRefusedError, match="refused the token"):
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
