"""Every escape of the corpus gets what it wants without a sandbox, and nothing in any tier that this machine gives."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox.escapes import ATTACKS, FORGERIES, HARDER, POISONS, PRELUDE
from sandbox.world import DISK_BYTES, MEMORY_BYTES, outside

from rft_core import BuildContext, Grade, Grader, Group, Item, Rollout
from rft_core.registry import Registry

pytestmark = pytest.mark.filterwarnings("ignore:the grader .* calls exec")

SECRET = "RFT_ESCAPE_SECRET"
TIERS = [*(["bubblewrap"] if shutil.which("bwrap") else []), "namespaces", "landlock"]
REGISTRY = Registry.discover()

OPEN = """
THRESHOLD = 1
CACHE = {}
def helper(x, seen=[]):
    return seen
def grade(sample, item):
    found = {"world": item, "escaped": False}
    try:
        exec(sample["output_text"], found)
    except BaseException as error:
        return {"score": 0.0, "details": {"error": repr(error)}}
    return {"score": 1.0 if found["escaped"] is True else 0.0}
"""
CLOSED = """
def grade(sample, item):
    exec(sample["output_text"], {"world": item})
    return {"score": 0.0}
"""
Ask = Callable[..., list[Grade]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    os.environ[SECRET] = "s3cret"
    with outside(tmp_path_factory.mktemp("w")) as found:
        yield found
    del os.environ[SECRET]


def build(tier: str, source: str, timeout_s: float = 5) -> Grader:
    config = {
        "type": "python",
        "source": source,
        "sandbox": tier,
        "timeout_s": timeout_s,
        "memory_bytes": MEMORY_BYTES,
        "disk_bytes": DISK_BYTES,
        "parallel": 2,
    }
    grader: Grader = REGISTRY.build("grader", config, BuildContext(base_dir=Path()))
    return grader


@pytest.fixture(scope="module")
def graders(world: dict[str, Any]) -> Iterator[Callable[[str, str], Grader]]:
    """One grader for each tier and source, started when first asked for."""
    built: dict[tuple[str, str], Grader] = {}

    def get(tier: str, source: str) -> Grader:
        if (tier, source) not in built:
            try:
                limit_s = 1 if source == CLOSED else 60 if tier == "none" else 5  # nothing stops an attack but a tier
                built[tier, source] = build(tier, source, limit_s)
            except ValueError as error:
                pytest.skip(str(error))
        return built[tier, source]

    yield get
    for grader in built.values():
        grader.close()


def ask(grader: Grader, text: str, world: dict[str, Any]) -> Grade:
    rollout = Rollout(ordinal=0, sample=0, seed=0, segments=(), text=text, finish_reason="stop")
    (grade,) = grader.grade(Group(ordinal=0, item=Item(key="i", index=0, row=world), rollouts=(rollout,)))
    return grade


def needs_root(name: str) -> None:
    if name.endswith("*") and os.geteuid() != 0:
        pytest.skip("the kernel refuses this to an ordinary user in any case")


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_succeeds_without_a_sandbox(name: str, graders: Any, world: dict[str, Any]) -> None:
    """The piece is a real attack: nothing but the sandbox stops it."""
    needs_root(name)
    grade = ask(graders("none", OPEN), PRELUDE + ATTACKS[name], world)
    assert grade.reward == 1.0, grade


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", ATTACKS)
def test_attack_fails(name: str, tier: str, graders: Any, world: dict[str, Any]) -> None:
    """It reaches nothing, and takes no more than its share."""
    grade = ask(graders(tier, OPEN), PRELUDE + ATTACKS[name], world)
    assert grade.reward != 1.0, grade


@pytest.mark.parametrize("name", POISONS)
def test_poison_works_without_a_sandbox(name: str, world: dict[str, Any]) -> None:
    """The first piece changes what a later sample finds, where both run in one process."""
    needs_root(name)
    grader = build("none", OPEN)
    ask(grader, PRELUDE + POISONS[name][0], world)
    grade = ask(grader, PRELUDE + POISONS[name][1], world)
    grader.close()
    assert grade.reward == 1.0, grade


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", POISONS)
def test_poison_reaches_no_later_sample(name: str, tier: str, graders: Any, world: dict[str, Any]) -> None:
    """A later sample finds nothing of it, and is graded as if it had not been."""
    grader = graders(tier, OPEN)
    ask(grader, PRELUDE + POISONS[name][0], world)
    assert ask(grader, PRELUDE + POISONS[name][1], world).reward != 1.0
    assert ask(grader, "escaped = True", world).reward == 1.0


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_works_without_a_sandbox(name: str, world: dict[str, Any]) -> None:
    """Code that `grade` executes gives a verdict in its place, where it shares the main thread."""
    grader = build("none", CLOSED)
    grade = ask(grader, PRELUDE + FORGERIES[name], world)
    grader.close()
    assert grade.reward == 1.0, grade


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", FORGERIES | HARDER)
def test_forgery_fails(name: str, tier: str, graders: Any, world: dict[str, Any]) -> None:
    """The verdict is what `grade` returned, or none."""
    grade = ask(graders(tier, CLOSED), PRELUDE + (FORGERIES | HARDER)[name], world)
    assert grade.reward in (0.0, None), grade


@pytest.mark.parametrize("tier", TIERS)
def test_ordinary_code_runs(tier: str, graders: Any, world: dict[str, Any]) -> None:
    """What fails in the sandbox fails because of what it does: imports, private files, threads and C do not."""
    text = """
import json, math, re, tempfile, threading, concurrent.futures, random, datetime, numpy
with tempfile.NamedTemporaryFile('w+') as f:
    f.write('x'); f.flush(); os.stat(f.name); open(f.name).read()
os.mkdir('folder'); open('folder/file', 'w').close(); os.listdir('folder')
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert list(pool.map(abs, [-1, 2])) == [1, 2]
assert numpy.linalg.norm(numpy.ones(4)) == 2 and libc.getpid() == os.getpid() and syscall(39 if os.uname().machine == 'x86_64' else 172)
os.kill(os.getpid(), 0)
a, b = socket.socketpair(); a.sendall(b'x'); assert b.recv(1) == b'x'
import asyncio
assert asyncio.run(asyncio.sleep(0, 3)) == 3
escaped = True
"""
    assert ask(graders(tier, OPEN), PRELUDE + text, world) == Grade.score(1.0)


def test_the_corpus_is_large() -> None:
    """At least 100 escapes."""
    assert len(ATTACKS) + len(POISONS) + len(FORGERIES) >= 100
