"""Grades a second through one local grader worker, beside an empty gRPC echo of the same bytes.

    python benchmarks/graders/wire.py

The worker is `rft-worker grader`, the grader `string_check`, which needs no tokens and is sent none. A unit
holds 64 rollouts in 4 groups. With `--tokens N` it is sent, as a grader that needs them would be, a prompt of 64
tokens and completions of N tokens with log-probabilities. Three things take turns, over the same transport and
with the same number of calls in flight:

    echo     a server of grpc.aio whose only method returns the bytes it gets
    worker   the worker's Grade, with requests that are ready as bytes and answers that stay bytes
    client   WorkerClient.grade, as the engine calls it: records in, records out

Beside grades a second, the processor time that both processes spend on one grade: it varies less where other
work shares the machine. `of the echo` is the median over the rounds of the echo's share in the same round, with
the lowest and the highest; 0.50 means that grading costs as much again as the transport alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import psutil

from rft_core import Group, Item, Rollout, Segment
from rft_core.registry import Registry
from rft_core.remote import convert
from rft_core.remote.client import Recipe, WorkerClient
from rft_core.remote.handshake import CHANNEL_OPTIONS
from rft_core.types import GradeUnit

RAW: dict[str, Any] = {
    "type": "string_check",
    "name": "s",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
GRADE, ECHO = "/rft.v1.GraderService/Grade", "/echo.Echo/Echo"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="Length of one measurement.")
    parser.add_argument("--in-flight", type=int, default=4)
    parser.add_argument("--tokens", type=int, help="Send tokens, so many a completion.")
    parser.add_argument("--serve-echo", metavar="ADDR", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_echo:
        asyncio.run(serve_echo(arguments.serve_echo))
        return
    token = secrets.token_hex(16)
    name = f"unix-abstract:rft-bench-{secrets.token_hex(8)}"
    with (
        tempfile.TemporaryDirectory() as folder,
        worker(name, token, Path(folder)) as grading,
        echo_server(name + "-echo") as echoing,
    ):
        measure(arguments, name, token, {"echo": echoing, "worker": grading, "client": grading})


def measure(arguments: argparse.Namespace, address: str, token: str, servers: dict[str, int]) -> None:
    recipe = recipe_of(needs_tokens=arguments.tokens is not None)
    client = WorkerClient(address, token)
    client.handshake("grader", timeout_s=30, patience_s=30)
    client.configure(recipe, timeout_s=30)
    unit = unit_of("0", tuple(group_of(n, arguments.tokens or 64) for n in range(4)))
    message = convert.grade_request(unit, recipe.digest, needs_tokens=recipe.needs_tokens)
    size = message.ByteSize()
    rollouts = sum(len(group.rollouts) for group in unit.groups)
    numbers = count(1)
    options = list(CHANNEL_OPTIONS)
    metadata = (("authorization", f"Bearer {token}"),)
    with (
        grpc.insecure_channel(address, options=options) as to_worker,
        grpc.insecure_channel(address + "-echo", options=options) as to_echo,
        ThreadPoolExecutor(arguments.in_flight) as threads,
    ):
        grade_bytes, echo_bytes = to_worker.unary_unary(GRADE), to_echo.unary_unary(ECHO)
        body = message.SerializeToString()
        assert body.startswith(b"\x0a\x010"), "request_id is the first field"
        ready = b"\x0a"
        rest = body[3:]

        def through_worker() -> None:
            name = str(next(numbers)).encode()  # a new request: an old one would get its kept result
            grade_bytes(ready + bytes([len(name)]) + name + rest, metadata=metadata, timeout=60)

        def through_client() -> None:
            graded = client.grade(recipe, unit_of(str(next(numbers)), unit.groups), timeout_s=60)
            assert len(graded.grades) == len(unit.groups)

        calls: dict[str, Callable[[], object]] = {
            "echo": lambda: echo_bytes(body, metadata=metadata, timeout=60),
            "worker": through_worker,
            "client": through_client,
        }
        rates: dict[str, list[float]] = {name: [] for name in calls}
        spent: dict[str, list[float]] = {name: [] for name in calls}
        for repeat in range(arguments.repeats + 1):
            for name, call in calls.items():
                before_s = busy_s(servers[name])
                made, wall_s = run(call, threads, arguments)
                if repeat:  # the first round warms up
                    rates[name].append(made * rollouts / wall_s)
                    spent[name].append((busy_s(servers[name]) - before_s) / (made * rollouts) * 1e6)
    print(f"{size} bytes a call of {rollouts} rollouts, {arguments.in_flight} calls in flight\n")
    print("| through | grades/s: median (min–max) | of the echo | processor time a grade | of the echo |")
    print("|---|---|---|---|---|")
    for name, found in rates.items():
        ratios = [f / e for f, e in zip(found, rates["echo"], strict=True)]
        cost = statistics.median(spent[name])
        shares = [e / s for s, e in zip(spent[name], spent["echo"], strict=True)]
        print(f"| {name} | {spread(found, ',.0f')} | {spread(ratios)} | {cost:.1f} µs | {spread(shares)} |")
    client.close()


def spread(values: list[float], form: str = ".2f") -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def run(call: Callable[[], object], threads: ThreadPoolExecutor, arguments: argparse.Namespace) -> tuple[int, float]:
    """Calls made by all threads together, and how long it took."""
    end_s = time.perf_counter() + arguments.seconds

    def work() -> int:
        done = 0
        while time.perf_counter() < end_s:
            call()
            done += 1
        return done

    start_s = time.perf_counter()
    done = sum(threads.map(lambda _: work(), range(arguments.in_flight)))
    return done, time.perf_counter() - start_s


def busy_s(server: int) -> float:
    """Processor time of this process and the server so far."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in (server, os.getpid()))


def recipe_of(*, needs_tokens: bool) -> Recipe:
    digest = convert.recipe_digest(Registry.discover().digest_of("grader", RAW), None, 0)
    config_json = convert.json_to_text(RAW)
    return Recipe(
        kind="grader",
        run_id="bench",
        config_json=config_json,
        digest=digest,
        base_dir=Path.cwd(),
        model=None,
        seed=0,
        needs_tokens=needs_tokens,
    )


def unit_of(request_id: str, groups: tuple[Group, ...]) -> GradeUnit:
    return GradeUnit(request_id=request_id, run_id="bench", groups=groups)


def group_of(ordinal: int, tokens: int) -> Group:
    row = {"messages": [{"role": "user", "content": "What is 6 × 7? " * 4}], "answer": "42"}
    prompt = Segment(role="prompt", token_ids=tuple(range(64)))
    ids, logprobs = tuple(range(100, 100 + tokens)), (-0.5,) * tokens
    completion = Segment(role="assistant", token_ids=ids, logprobs=logprobs, trained=True, policy=1)
    rollouts = tuple(
        Rollout(
            ordinal=ordinal,
            sample=n,
            seed=n,
            segments=(prompt, completion),
            text="42" if n % 2 else "The answer, after some thought, is 41. " * 5,
            finish_reason="stop",
        )
        for n in range(16)
    )
    return Group(ordinal=ordinal, item=Item(key=f"rows.jsonl:{ordinal}", index=ordinal, row=row), rollouts=rollouts)


@contextmanager
def worker(address: str, token: str, folder: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "rft_workers", "grader", "--listen", address]
    with started(command, {"RFT_WORKER_TOKEN": token, "TMPDIR": str(folder)}) as pid:
        yield pid


@contextmanager
def echo_server(address: str) -> Iterator[int]:
    with started([sys.executable, __file__, "--serve-echo", address], {}) as pid:
        yield pid


@contextmanager
def started(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """The process id of a server that prints a line when it listens."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise SystemExit(f"{json.dumps(command)} did not start")
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def serve_echo(address: str) -> None:
    async def echo(request: bytes, context: Any) -> bytes:
        return request

    server = grpc.aio.server(options=list(CHANNEL_OPTIONS))
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
    server.add_insecure_port(address)
    await server.start()
    print(f"echo on {address}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    main()
