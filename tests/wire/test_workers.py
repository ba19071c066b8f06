"""Real worker processes on sockets of this machine: handshake, refusals, idempotence, and how they end."""

from __future__ import annotations

import os
import re
import secrets
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from rft.v1 import sampler_pb2_grpc
from rft_core import WeightRef
from rft_core.errors import (
    ComponentError,
    ConfigError,
    IntegrityError,
    NotConfiguredError,
    PolicyNotLoadedError,
    UnknownNameError,
    WorkerBusyError,
    WorkerError,
    WorkerRefusedError,
)
from rft_core.registry import Registry
from rft_core.remote import convert
from rft_core.remote.client import Recipe, WorkerClient
from rft_core.remote.convert import json_to_text, recipe_digest
from rft_core.remote.handshake import PROTOCOL_RELEASE, WorkerKind, check_info
from rft_test_plugin.make import RUN_ID, grade_unit, sample_unit, weight_ref

REGISTRY = Registry.discover()
TOKEN = secrets.token_hex(16)


@dataclass
class Worker:
    """A worker started by hand, as a user would."""

    process: subprocess.Popen[str]
    address: str
    token: str

    def client(self, token: str | None = None) -> WorkerClient:
        return WorkerClient(self.address, token or self.token)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `rft-worker` processes and ends them after the test."""
    workers: list[subprocess.Popen[str]] = []

    def start_worker(kind: str, *options: str, listen: str | None = None, token: str | None = TOKEN) -> Worker:
        address = listen or f"unix-abstract:rft-test-{secrets.token_hex(8)}"
        environment = {k: v for k, v in os.environ.items() if k != "RFT_WORKER_TOKEN"}
        if token is not None:
            environment["RFT_WORKER_TOKEN"] = token
        process = subprocess.Popen(
            [sys.executable, "-m", "rft_workers", kind, "--listen", address, "--threads", "1", *options],
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "worker.log").open("a"),
            text=True,
            env={**environment, "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": ""},
        )
        workers.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(rf"rft-worker: {kind} on (\S+)\n", line)
        assert found, (line, (tmp_path / "worker.log").read_text())
        return Worker(process, found[1], token or "")

    yield start_worker
    for process in workers:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def recipe(kind: WorkerKind, base_dir: Path, **config: Any) -> Recipe:
    return Recipe(
        kind=kind,
        run_id=RUN_ID,
        config_json=json_to_text(config),
        digest=recipe_digest(REGISTRY.digest_of(kind, config), None, 0),
        base_dir=base_dir,
        model=None,
        seed=0,
    )


def ready(worker: Worker, made: Recipe) -> WorkerClient:
    """A client that shook hands and configured its component."""
    client = worker.client()
    client.handshake(made.kind, timeout_s=5)
    client.configure(made, timeout_s=20)
    return client


def test_a_worker_started_by_hand_needs_an_address_only(start: Start, tmp_path: Path) -> None:
    """Without settings it takes a free loopback port, makes a token, keeps it in a private file, and cleans up."""
    worker = start("grader", listen="127.0.0.1:0", token=None)
    assert worker.process.stdout is not None
    token = worker.process.stdout.readline().removeprefix("rft-worker: token ").strip()
    file = Path(worker.process.stdout.readline().removeprefix("rft-worker: token written to ").strip())
    assert file.read_text().strip() == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = recipe("grader", tmp_path, type="test_constant")
    client = ready(replace(worker, token=token), made)
    assert client.grade(made, grade_unit(), timeout_s=5).grades[0][0].reward == 1.0
    client.close()
    assert worker.end() == 0
    assert not file.exists()


def test_the_handshake_tells_who_is_there(start: Start) -> None:
    """Kind, pid, release and abilities are known before anything is configured."""
    worker = start("sampler")
    client = worker.client()
    info = client.handshake("sampler", timeout_s=5)
    assert (info.kind, info.pid, info.protocol_release) == ("sampler", worker.process.pid, PROTOCOL_RELEASE)
    assert info.same_host
    assert "upload_weights" in info.capabilities
    with pytest.raises(WorkerRefusedError, match="hosts a sampler, not a grader"):
        client.handshake("grader", timeout_s=5)
    with pytest.raises(WorkerRefusedError, match="speaks release 99 of the protocol"):
        check_info(replace(info, protocol_release=99), "sampler")
    client.close()


def test_an_engine_of_another_release_is_refused(start: Start, tmp_path: Path) -> None:
    """The worker, too, compares releases, and does not build anything for a stranger."""
    made = recipe("grader", tmp_path, type="test_constant")

    class OtherRelease(Recipe):
        def to_proto(self) -> Any:
            message = super().to_proto()
            message.protocol_release = PROTOCOL_RELEASE + 1
            return message

    client = start("grader").client()
    with pytest.raises(WorkerRefusedError, match="install matching versions"):
        client.configure(OtherRelease(**vars(made)), timeout_s=5)
    client.close()


def test_every_method_needs_the_token(start: Start, tmp_path: Path) -> None:
    """A wrong token and none at all are refused on every service, health and reflection included."""
    worker = start("sampler")
    made = recipe("sampler", tmp_path, type="scripted")
    ref = weight_ref(tmp_path / "0")
    stranger = worker.client(token="wrong")
    for call in (
        lambda: stranger.handshake("sampler", timeout_s=5),
        lambda: stranger.configure(made, timeout_s=5),
        lambda: stranger.load_policy(made, ref, timeout_s=5),
        lambda: stranger.sample(made, sample_unit(ref), timeout_s=5),
    ):
        with pytest.raises(WorkerRefusedError, match="refused the token"):
            call()
    stranger.close()
    with grpc.insecure_channel(worker.address) as channel:
        with pytest.raises(grpc.RpcError) as health:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.value.code() == grpc.StatusCode.UNAUTHENTICATED
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        with pytest.raises(grpc.RpcError) as reflection:
            list(reflect(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5))
        assert reflection.value.code() == grpc.StatusCode.UNAUTHENTICATED
        metadata = [("authorization", f"Bearer {TOKEN}")]
        (reply,) = reflect(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5, metadata=metadata
        )
        assert "rft.v1.SamplerService" in {s.name for s in reply.list_services_response.service}


def peak_bytes(process: subprocess.Popen[str]) -> int:
    """Most memory that a process has held so far."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(line) * 1024


def test_a_strangers_message_is_not_kept_in_memory(start: Start, tmp_path: Path) -> None:
    """Calls without the token are refused before their request is read, however large it is."""
    worker = start("sampler")
    ref = weight_ref(tmp_path / "0")
    request = convert.sample_request(sample_unit(ref), "digest")
    request.prompts[0].messages_json = "x" * (60 * 1024 * 1024)
    before = peak_bytes(worker.process)

    def ask(_: int) -> grpc.StatusCode:
        with grpc.insecure_channel(worker.address) as channel:
            stub = sampler_pb2_grpc.SamplerServiceStub(channel)  # type: ignore[no-untyped-call] # generated
            with pytest.raises(grpc.RpcError) as refused:
                stub.Sample(request, timeout=30, metadata=[("authorization", "Bearer wrong")])
            code: grpc.StatusCode = refused.value.code()
            return code

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ask, range(4))) == {grpc.StatusCode.UNAUTHENTICATED}
    assert peak_bytes(worker.process) - before < 32 * 1024 * 1024


def test_set_up_refuses_what_does_not_fit(start: Start, tmp_path: Path) -> None:
    """Another digest, an unknown component and bad settings are errors of their own class, with sentences."""
    client = start("grader").client()
    made = recipe("grader", tmp_path, type="test_constant")
    with pytest.raises(WorkerRefusedError, match=r"which has rft-test-plugin 0\.1\.0; install the same version"):
        client.configure(replace(made, digest="0" * 64), timeout_s=10)
    with pytest.raises(UnknownNameError, match="did you mean 'test_constant'"):
        client.configure(replace(made, config_json='{"type":"test_constnat"}'), timeout_s=10)
    with pytest.raises(ConfigError, match="unknown key 'rewrad'"):
        client.configure(replace(made, config_json='{"type":"test_constant","rewrad":1}'), timeout_s=10)
    with pytest.raises(NotConfiguredError):
        client.grade(made, grade_unit(), timeout_s=5)
    client.close()


def test_sampling_follows_the_policy(start: Start, tmp_path: Path) -> None:
    """A unit of a version that is not loaded is refused; versions by path and by upload give the same rollouts."""
    worker, made = start("sampler"), recipe("sampler", tmp_path, type="scripted")
    client = ready(worker, made)
    first, second = weight_ref(tmp_path / "0"), weight_ref(tmp_path / "1", 1, b"\x00\x00\x00\x40" * 2_000_000)
    client.load_policy(made, first)
    reply = client.sample(made, sample_unit(first), timeout_s=5)
    assert reply.busy[0].start_s <= reply.busy[0].end_s <= time.monotonic()
    with pytest.raises(PolicyNotLoadedError):
        client.sample(made, sample_unit(second, "s-1"), timeout_s=5)
    client.load_policy(made, second)
    by_path = client.sample(made, sample_unit(second, "s-1"), timeout_s=5)
    client.load_policy(made, first)
    # A worker on another machine gets the weights themselves, in several pieces.
    assert client.info is not None
    client.info = replace(client.info, same_host=False)
    client.load_policy(made, second)
    same_draws = replace(sample_unit(second, "s-1"), request_id="s-2")
    by_upload = client.sample(made, same_draws, timeout_s=5)
    assert by_upload.policy_digest == by_path.policy_digest == second.digest
    assert by_upload.groups == by_path.groups
    with pytest.raises(IntegrityError):
        client.load_policy(made, replace(second, number=2, digest="sha256:" + "0" * 64))
    client.close()
    assert worker.end() == 0
    assert not list(tmp_path.glob("rft-worker-weights-*"))


def test_asking_again_joins_or_returns_the_kept_result(start: Start, tmp_path: Path) -> None:
    """Four askers at once and a fifth afterwards get one computation; one that gave up does not end it."""
    made = recipe("sampler", tmp_path, type="scripted", delay_s=0.4, calls_file="calls")
    client = ready(start("sampler"), made)
    ref = weight_ref(tmp_path / "0")
    client.load_policy(made, ref)
    unit = sample_unit(ref)
    with pytest.raises(WorkerError, match="did not answer unit s-0 in time"):
        client.sample(made, unit, timeout_s=0.1)
    with ThreadPoolExecutor(4) as threads:
        replies = list(threads.map(lambda _: client.sample(made, unit, timeout_s=5), range(4)))
    replies.append(client.sample(made, unit, timeout_s=5))
    assert all(reply == replies[0] for reply in replies)
    assert (tmp_path / "calls").read_text() == "s-0\n"
    client.close()


def test_a_failed_unit_is_computed_anew(start: Start, tmp_path: Path) -> None:
    """A component's error is not kept: asking again computes again."""
    made = recipe("sampler", tmp_path, type="scripted", fault="raise", calls_file="calls")
    client = ready(start("sampler"), made)
    ref = weight_ref(tmp_path / "0")
    client.load_policy(made, ref)
    for _ in range(2):
        with pytest.raises(ComponentError, match="out of memory, says the script"):
            client.sample(made, sample_unit(ref), timeout_s=5)
    assert (tmp_path / "calls").read_text() == "s-0\ns-0\n"
    client.close()


def test_a_full_queue_says_when_to_come_back(start: Start, tmp_path: Path) -> None:
    """Units beyond the bound are refused with RESOURCE_EXHAUSTED and a delay; the others are computed."""
    made = recipe("sampler", tmp_path, type="scripted", delay_s=0.05)
    worker = start("sampler")
    client = ready(worker, made)
    ref = weight_ref(tmp_path / "0")
    client.load_policy(made, ref)

    delays: list[float] = []

    def ask(number: int) -> str:
        try:
            return client.sample(made, sample_unit(ref, f"s-{number}"), timeout_s=10).request_id
        except WorkerBusyError as error:
            delays.append(error.retry_after_s)
            return "busy"

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask, range(20)))
    assert 9 <= len(set(answers) - {"busy"}) < 20
    assert answers.count("busy") == len(delays) >= 1
    assert all(0 < delay_s < 5 for delay_s in delays)
    client.close()


def test_sigterm_finishes_what_runs(start: Start, tmp_path: Path) -> None:
    """At SIGTERM health turns to NOT_SERVING, the running unit is answered, new ones are not, and the exit is 0."""
    made = recipe("sampler", tmp_path, type="scripted", delay_s=0.8)
    worker = start("sampler")
    client = ready(worker, made)
    ref = weight_ref(tmp_path / "0")
    client.load_policy(made, ref)
    metadata = [("authorization", f"Bearer {TOKEN}")]
    with grpc.insecure_channel(worker.address) as channel, ThreadPoolExecutor(1) as threads:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service="rft.v1.SamplerService"), timeout=10, metadata=metadata
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        running = threads.submit(client.sample, made, sample_unit(ref), timeout_s=10)
        time.sleep(0.3)
        worker.process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        assert running.result().request_id == "s-0"
    with pytest.raises(WorkerError):
        client.sample(made, sample_unit(ref, "s-1"), timeout_s=2)
    client.close()
    assert worker.process.wait(10) == 0


def test_components_make_room_for_others(start: Start, tmp_path: Path) -> None:
    """A worker keeps as many components as it may; the one unused longest is built again when needed."""
    client = start("grader", "--max-components", "2").client()
    made = [recipe("grader", tmp_path, type="test_constant", reward=float(number)) for number in range(3)]
    for one in made:
        client.configure(one, timeout_s=10)
    with pytest.raises(NotConfiguredError):
        client.grade(made[0], grade_unit(), timeout_s=5)
    assert client.grade(made[1], grade_unit(), timeout_s=5).grades[0][0].reward == 1.0
    client.configure(made[0], timeout_s=10)
    assert client.grade(made[0], grade_unit(), timeout_s=5).grades[0][0].reward == 0.0
    client.close()


def test_a_component_is_not_closed_under_running_work(start: Start, tmp_path: Path) -> None:
    """A call that is given up leaves its thread behind: the component makes room when that has ended."""
    client = start("grader", "--max-components", "1").client()
    slow, other = (
        recipe("grader", tmp_path, type="test_slow", delay_s=2.0),
        recipe("grader", tmp_path, type="test_constant"),
    )
    client.configure(slow, timeout_s=10)
    with pytest.raises(WorkerError, match="did not answer unit g-0 in time"):
        client.grade(slow, grade_unit(groups=1), timeout_s=0.2)
    with pytest.raises(WorkerBusyError, match="all 1 components of this worker are in use"):
        client.configure(other, timeout_s=10)
    assert client.grade(slow, grade_unit(groups=1), timeout_s=5).grades[0][0].reward == 1.0
    client.configure(other, timeout_s=10)
    client.close()


def test_uploads_go_with_their_component(start: Start, tmp_path: Path) -> None:
    """Weights that were sent for a component are removed when it makes room, and at the end of the worker."""
    worker = start("sampler", "--max-components", "1")
    client = worker.client()
    client.info = replace(client.handshake("sampler", timeout_s=5), same_host=False)
    made = [recipe("sampler", tmp_path, type="scripted", tokens=number) for number in (1, 2, 3)]
    for one in made:
        client.configure(one, timeout_s=10)
        client.load_policy(one, weight_ref(tmp_path / "0"))
        (root,) = tmp_path.glob("rft-worker-weights-*")
        assert len(list(root.iterdir())) == 1
    client.close()
    assert worker.end() == 0
    assert not root.exists()


def test_health_says_that_a_component_fails(start: Start, tmp_path: Path) -> None:
    """After a component's own error its service is NOT_SERVING, until all components work again."""
    worker = start("sampler", "--max-components", "1")
    made = recipe("sampler", tmp_path, type="scripted", fault="raise")
    client = ready(worker, made)
    ref = weight_ref(tmp_path / "0")
    metadata = [("authorization", f"Bearer {TOKEN}")]
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    with grpc.insecure_channel(worker.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="rft.v1.SamplerService")
        watch = stub.Watch(request, timeout=20, metadata=metadata)
        assert next(watch).status == serving
        client.load_policy(made, ref)
        with pytest.raises(ComponentError):
            client.sample(made, sample_unit(ref), timeout_s=5)
        assert next(watch).status == not_serving
        other = health_pb2.HealthCheckRequest(service="rft.v1.WorkerService")
        assert stub.Check(other, timeout=5, metadata=metadata).status == serving
        client.configure(recipe("sampler", tmp_path, type="scripted"), timeout_s=10)
        assert next(watch).status == serving
        watch.cancel()
    client.close()


def test_an_old_id_for_something_else_is_another_unit(start: Start, tmp_path: Path) -> None:
    """A resumed engine may have sampled other texts for a unit: it gets their grades, not the kept ones."""
    made = recipe("grader", tmp_path, type="test_text_length")
    client = ready(start("grader"), made)
    unit = grade_unit(groups=1)
    (group,) = unit.groups
    longer = replace(group, rollouts=tuple(replace(r, text=r.text * 10) for r in group.rollouts))
    rewards = [client.grade(made, u, timeout_s=5).grades[0][0].reward for u in (unit, replace(unit, groups=(longer,)))]
    assert rewards[0] != rewards[1]
    client.close()


def test_unreadable_requests_are_refused(start: Start, tmp_path: Path) -> None:
    """A request that is no unit, such as JSON nested 100,000 deep, is refused and the worker lives on."""
    made = recipe("sampler", tmp_path, type="scripted")
    worker = start("sampler")
    client = ready(worker, made)
    ref = weight_ref(tmp_path / "0")
    client.load_policy(made, ref)
    request = convert.sample_request(sample_unit(ref), made.digest)
    request.prompts[0].messages_json = "[" * 100_000
    metadata = [("authorization", f"Bearer {TOKEN}")]
    with grpc.insecure_channel(worker.address) as channel:
        stub = sampler_pb2_grpc.SamplerServiceStub(channel)  # type: ignore[no-untyped-call] # generated
        with pytest.raises(grpc.RpcError) as refused:
            stub.Sample(request, timeout=5, metadata=metadata)
        assert "cannot be read" in (refused.value.details() or "")
        request.prompts[0].messages_json = "x" * (65 * 1024 * 1024)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Sample(request, timeout=20, metadata=metadata)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.sample(made, sample_unit(ref), timeout_s=5).request_id == "s-0"
    client.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--listen", "0.0.0.0:0"], "can be reached from other machines; give --tls-cert"),
        (["--listen", "example.org:7070"], "can be reached from other machines"),
        (["--listen", "nonsense"], "'nonsense' is not an address"),
        (["--listen", "127.0.0.1:0", "--tls-cert", "c.pem"], "TLS needs --tls-cert and --tls-key"),
        (["--listen", "127.0.0.1:0", "--token-file", "/nowhere/token"], "the token file /nowhere/token cannot be read"),
        ([], "give --listen"),
    ],
)
def test_bad_options_end_with_a_sentence(options: list[str], sentence: str) -> None:
    """What must not be served is refused with exit code 2, before anything listens."""
    done = subprocess.run(
        [sys.executable, "-m", "rft_workers", "grader", *options],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("spoilt", "sentence"),
    [
        ("cert", r"cert\.pem and .*key\.pem are not a certificate and its unencrypted key .*correct --tls-cert"),
        ("key", r"cert\.pem and .*key\.pem are not a certificate and its unencrypted key"),
        ("foreign", r"and .*key\.pem are not .* \(key values mismatch\)"),
        ("ca", r"ca\.pem holds no PEM certificate; correct --tls-ca"),
    ],
)
def test_bad_certificates_are_sentences(spoilt: str, sentence: str, tmp_path: Path) -> None:
    """Files that hold no certificate or key, or not each other's, are not told as a port in use."""
    cert, key = certificate(tmp_path)
    authority = tmp_path / "ca.pem"
    authority.write_bytes(cert.read_bytes())
    if spoilt == "foreign":
        (tmp_path / "other").mkdir()
        key.write_bytes(certificate(tmp_path / "other")[1].read_bytes())
    else:
        {"cert": cert, "key": key, "ca": authority}[spoilt].write_text("not PEM")
    options = ["--tls-cert", str(cert), "--tls-key", str(key), "--tls-ca", str(authority)]
    command = [sys.executable, "-m", "rft_workers", "grader", "--listen", "127.0.0.1:0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert re.search(sentence, done.stderr), done.stderr
    assert "another process" not in done.stderr


def test_two_workers_cannot_share_a_port(start: Start) -> None:
    """A second worker on the same port is refused instead of stealing half of the calls."""
    worker = start("grader", listen="127.0.0.1:0")
    command = [sys.executable, "-m", "rft_workers", "grader", "--listen", worker.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert f"cannot listen on {worker.address}" in done.stderr


ENGINE = """
import sys, time
from pathlib import Path
from rft_core.pools.pool import open_pool
from rft_core.config.workers import WorkerConfig
base = Path(sys.argv[1])
pool = open_pool("grader", {"type": "test_constant"}, WorkerConfig(), run_id="r", base_dir=base, log_dir=base,
                 on_event=lambda kind, event: print(event["pid"], flush=True))
pool.start()
time.sleep(60)
"""


def test_workers_die_with_a_killed_engine(tmp_path: Path) -> None:
    """When the engine is killed outright, its workers end by themselves, because their pipe ends."""
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    worker = psutil.Process(int(engine.stdout.readline()))
    assert worker.is_running()
    engine.kill()
    engine.wait()
    engine.stdout.close()
    worker.wait(timeout=3)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_tls_with_client_certificates(start: Start, tmp_path: Path) -> None:
    """With --tls-ca a client needs a certificate; without one, or without TLS, nobody gets through and is told."""
    cert, key = certificate(tmp_path)
    options = ["--tls-cert", str(cert), "--tls-key", str(key), "--tls-ca", str(cert)]
    worker = start("grader", *options, listen="127.0.0.1:0")
    ca = cert.read_bytes()
    mutual = grpc.ssl_channel_credentials(ca, key.read_bytes(), ca)
    client = WorkerClient(worker.address, TOKEN, tls=mutual)
    assert client.handshake("grader", timeout_s=5).kind == "grader"
    client.close()
    for tls in (None, grpc.ssl_channel_credentials(ca)):
        outsider = WorkerClient(worker.address, TOKEN, tls=tls)
        with pytest.raises(
            WorkerError, match=r"closed the connection\); if it serves TLS, give grading\.worker\.tls_ca"
        ):
            outsider.handshake("grader", timeout_s=5, by_hand=True)
        outsider.close()


def test_a_connection_over_tls_that_fails_says_why(start: Start, tmp_path: Path) -> None:
    """Another authority, another host, no TLS at all: what is wrong and which setting mends it."""
    (tmp_path / "other").mkdir()
    cert, key = certificate(tmp_path)
    stranger, _ = certificate(tmp_path / "other")
    secure = start("sampler", "--tls-cert", str(cert), "--tls-key", str(key), listen="127.0.0.1:0").address
    plain = start("sampler", listen="127.0.0.1:0").address
    for address, ca, says in (
        (secure, stranger, "did not sign its certificate); give sampler.worker.tls_ca"),
        (secure.replace("127.0.0.1", "[::ffff:127.0.0.1]"), cert, "its certificate is of another host); write"),
        (
            plain,
            cert,
            "it does not speak TLS); start it with --tls-cert and --tls-key, or remove sampler.worker.tls_ca",
        ),
    ):
        client = WorkerClient(address, TOKEN, tls=grpc.ssl_channel_credentials(ca.read_bytes()))
        with pytest.raises(WorkerError, match=re.escape(says)):
            client.handshake("sampler", timeout_s=5, by_hand=True)
        client.close()


def test_weights_are_uploaded_whole_or_not_at_all(start: Start, tmp_path: Path) -> None:
    """A file whose bytes change on the way to the worker is refused and leaves nothing behind."""
    made = recipe("sampler", tmp_path, type="scripted")
    client = ready(start("sampler"), made)
    assert client.info is not None
    client.info = replace(client.info, same_host=False)
    announced: WeightRef = weight_ref(tmp_path / "0")
    weight_ref(tmp_path / "0", 0, b"\x00\x00\x00\x41")
    with pytest.raises(IntegrityError, match="announced"):
        client.load_policy(made, announced)
    (folder,) = tmp_path.glob("rft-worker-weights-*")
    assert list(folder.iterdir()) == []
    client.close()
