"""endpoint: an HTTP service that scores, against a real server that behaves well or badly."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from judge_server import Call, JudgeServer, Reply, failure, free_address
from pydantic import ValidationError

from rft_core import BuildContext, Grade, Grader, Group, Item, Outcome, Rollout
from rft_core.contract import check_grader
from rft_core.errors import ConfigError
from rft_core.grading import sample_dict
from rft_core.registry import Registry
from rft_graders_model import rft_graders

(SPEC,) = (spec for spec in rft_graders() if spec.name == "endpoint")
ROW = {"messages": [{"role": "user", "content": "q"}], "answer": "42", "wide": "naïve 😀"}
SERVER, INTERNAL = "endpoint_grader_server_error", "endpoint_grader_internal_error"
SECRET = "s3cret-0123456789"


def rollout(text: str, sample: int = 0) -> Rollout:
    return Rollout(ordinal=3, sample=sample, seed=100 + sample, segments=(), text=text, finish_reason="stop")


def group(*texts: str, row: Mapping[str, Any] = ROW) -> Group:
    rollouts = tuple(rollout(text, sample) for sample, text in enumerate(texts))
    return Group(ordinal=3, item=Item(key="rows.jsonl:4", index=3, row=row), rollouts=rollouts)


def build(url: str, **more: Any) -> Grader:
    config = SPEC.config.model_validate({"type": "endpoint", "name": "mine", "url": url, **more})
    return SPEC.build(config, BuildContext(base_dir=Path(), seed=5))


def grade(url: str, *texts: str, row: Mapping[str, Any] = ROW, **more: Any) -> list[Grade]:
    grader = build(url, **more)
    try:
        return list(grader.grade(group(*texts, row=row)))
    finally:
        grader.close()


def answer(value: Any, **more: Any) -> Reply:
    return Reply(json.dumps(value).encode(), **more)


def test_what_the_service_gets() -> None:
    """Sample, row and a trace as the contract has them; each rollout its own trace, the same in every run of it."""
    with JudgeServer(lambda call: answer({"score": 0.5})) as server:
        first = grade(f"{server.url}/grade?v=1", '{"a": 1}', "two", headers={"X-Team": "blue"})
        grade(f"{server.url}/grade?v=1", '{"a": 1}', "two")
    assert [g.reward for g in first] == [0.5, 0.5]
    calls = sorted(server.calls[:2], key=lambda call: call.body["sample"]["output_text"], reverse=True)
    assert {call.path for call in calls} == {"/grade?v=1"}
    assert {call.headers["X-Team"] for call in calls} == {"blue"}
    assert [call.body["sample"] for call in calls] == [sample_dict(r) for r in group('{"a": 1}', "two").rollouts]
    assert calls[0].body["sample"]["output_json"] == {"a": 1}
    assert calls[0].body["item"] == ROW
    assert set(calls[0].body) == {"sample", "item", "trace_id"}
    traces = {call.body["trace_id"] for call in server.calls}
    assert len(traces) == 2
    assert all(re.fullmatch(r"trace_[0-9a-f]{32}", trace) for trace in traces)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"score": 1}, Grade.score(1.0)),
        ({"score": -2.5, "unknown": []}, Grade.score(-2.5)),
        ({"score": 1e308}, Grade.score(1e308)),
        ({"score": None}, Grade.abstained("the endpoint returned the score null")),
        (
            {"score": 0.5, "metrics": {"chars": 3}, "sub_rewards": {"style": 0.25}, "details": {"why": ["short"]}},
            Grade.score(0.5, metrics={"chars": 3.0}, sub_rewards={"style": 0.25}, details={"why": ["short"]}),
        ),
        ({"score": 0, "metrics": None, "sub_rewards": {}, "details": None}, Grade.score(0.0)),
    ],
)
def test_what_the_service_may_answer(value: Any, expected: Grade) -> None:
    """A score, and what python graders may give beside it; other keys are left alone."""
    with JudgeServer(lambda call: answer(value)) as server:
        assert grade(server.url, "x") == [expected]


def endless() -> Iterator[bytes]:
    yield b'{"score": 1, "why": "'
    while True:
        yield b"x" * 65536


def trickle() -> Iterator[bytes]:
    while True:
        time.sleep(0.05)
        yield b" "


HTML = {"Content-Type": "text/html"}
BAD: list[tuple[str, Reply, str, int, str]] = [
    ("NaN", Reply(b'{"score": NaN}'), INTERNAL, 1, "NaN is not a JSON number"),
    ("infinity", Reply(b'{"score": Infinity}'), INTERNAL, 1, "Infinity"),
    ("overflow", Reply(b'{"score": 1e309}'), INTERNAL, 1, "1e309"),
    ("long integer", Reply(b'{"score": 1' + b"0" * 400 + b"}"), INTERNAL, 1, "too many digits"),
    ("longer integer", Reply(b'{"score": 1' + b"0" * 9000 + b"}"), INTERNAL, 1, "too many digits"),
    ("string", answer({"score": "1"}), INTERNAL, 1, "'score' is not a number"),
    ("true", answer({"score": True}), INTERNAL, 1, "'score' is not a number"),
    ("list", answer({"score": [1]}), INTERNAL, 1, "'score' is not a number"),
    ("bare number", Reply(b"1.0"), INTERNAL, 1, "a float, not an object"),
    ("bare list", answer([{"score": 1}]), INTERNAL, 1, "a list, not an object"),
    ("no score", answer({"reward": 1}), INTERNAL, 1, "has no 'score'"),
    ("metric", answer({"score": 1, "metrics": {"a": "b"}}), INTERNAL, 1, "'metrics.a' is not a number"),
    ("metrics", answer({"score": 1, "metrics": [1]}), INTERNAL, 1, "'metrics' is not an object"),
    ("details", answer({"score": 1, "details": "x"}), INTERNAL, 1, "'details' is not an object"),
    ("prose", Reply(b"one point for you", 200, HTML), INTERNAL, 1, "no JSON (expecting value): one point for you"),
    ("nothing", Reply(b""), INTERNAL, 1, "no JSON"),
    ("deep", Reply(b'{"score": ' + b"[" * 100_000), INTERNAL, 1, "nested deeper"),
    ("huge", Reply(b'{"score": 1, "why": "' + b"x" * 1_000_000 + b'"}'), INTERNAL, 1, "more than 1000000 bytes"),
    ("endless", Reply(endless()), INTERNAL, 1, "more than 1000000 bytes"),
    ("zipped", Reply(b"\x1f\x8b\x08\x00", 200, {"Content-Encoding": "gzip"}), INTERNAL, 1, "no JSON"),
    ("not found", failure(404, "no such path"), SERVER, 1, "status 404: no such path"),
    ("forbidden", failure(403), SERVER, 1, "status 403"),
    ("redirect", Reply(b"", 302, {"Location": "http://127.0.0.1:1/"}), SERVER, 1, "it leads to http://127.0.0.1:1/"),
    ("broken", failure(500, "oops"), SERVER, 2, "status 500: oops (2 tries)"),
    ("endless error", Reply(endless(), 503), SERVER, 2, "status 503"),
    ("trickle", Reply(trickle()), SERVER, 2, "within 0.4 s (2 tries)"),
    ("slow", answer({"score": 1}, delay_s=1.0), SERVER, 2, "within 0.4 s (2 tries)"),
    ("hangs up", answer({"score": 1}, missing=9), SERVER, 2, "cannot be reached"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "kind", "tries", "says"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_service_is_a_typed_failure(reply: Reply, kind: str, tries: int, says: str) -> None:
    """Each way to fail has its kind and sentence, in bounded time and memory; other rollouts keep their grades."""

    def behave(call: Call) -> Reply:
        return reply if call.body["sample"]["output_text"] == "bad" else answer({"score": 1})

    with JudgeServer(behave) as server:
        good, found = grade(server.url, "good", "bad", max_retries=1, request_timeout_s=0.4 if "0.4 s" in says else 30)
    assert good.reward == 1.0
    assert (found.outcome, found.error_kind, found.reward) == (Outcome.GRADER_ERROR, kind, None)
    assert says in (found.message or "")
    assert len(found.message or "") < 700
    assert len(server.calls) == tries + 1


def test_a_service_that_is_down() -> None:
    """No server at all is a server error after the retries."""
    (found,) = grade(free_address(), "x", max_retries=1)
    assert found.error_kind == SERVER
    assert "(2 tries)" in (found.message or "")


def test_a_service_that_fails_three_times_is_called_a_fourth() -> None:
    """Three retries by default, each with the same trace."""
    with JudgeServer(lambda call: failure(500) if call.number < 3 else answer({"score": 1})) as server:
        assert grade(server.url, "x") == [Grade.score(1.0)]
    assert len({call.body["trace_id"] for call in server.calls}) == 1
    assert SPEC.config.model_validate({"url": server.url}).request_timeout_s == 600  # type: ignore[attr-defined]


def test_what_is_too_large_to_send() -> None:
    """A payload of more than 1 MB is not sent."""
    with JudgeServer(lambda call: answer({"score": 1})) as server:
        (found,) = grade(server.url, "x", row={**ROW, "book": "x" * 1_000_000})
    assert found.error_kind == "other_error"
    assert "an endpoint gets at most 1000000" in (found.message or "")
    assert server.calls == []


def test_secrets_in_headers(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """`${env:NAME}` is filled in from the environment when the grader is built; what it holds is never shown."""
    monkeypatch.setenv("GRADER_TOKEN", f"{SECRET}\n")
    caplog.set_level("INFO")
    headers = {"Authorization": "Bearer ${env:GRADER_TOKEN}", "X-Version": "1"}
    assert SECRET not in repr(SPEC.config.model_validate({"url": "http://x/", "headers": headers}))
    for reply in (failure(401, f"bad token {SECRET}"), answer({"score": 1, "details": {"echo": f"Bearer {SECRET}"}})):
        with JudgeServer(lambda call, reply=reply: reply) as server:  # type: ignore[misc]
            (found,) = grade(f"{server.url}/?code={SECRET}", "x", headers=headers)
        assert server.calls[0].headers["Authorization"] == f"Bearer {SECRET}"
        assert server.calls[0].headers["X-Version"] == "1"
        assert "***" in repr(found)
        assert SECRET not in repr(found)
        assert found.reward in (None, 1.0)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("reference", ["${env:GRADER_TOKEN}", "${GRADER_TOKEN}"])
@pytest.mark.parametrize(
    ("held", "says"), [(None, "GRADER_TOKEN, which the header 'X-Key' names, is empty"), ("a\nb", "characters")]
)
def test_a_missing_secret_is_found_before_the_first_call(
    monkeypatch: pytest.MonkeyPatch, held: str | None, says: str, reference: str
) -> None:
    """A header whose variable is empty or unusable stops the run at its start."""
    monkeypatch.delenv("GRADER_TOKEN", raising=False)
    if held is not None:
        monkeypatch.setenv("GRADER_TOKEN", held)
    with pytest.raises(ConfigError, match=says):
        build("http://127.0.0.1:1/", headers={"X-Key": reference})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"url": "grader.example.org"}, "write https://host/path"),
        ({"url": "https://user:pw@example.org/"}, "a URL with a password in it"),
        ({"url": "https://example.org:99999/"}, "this is not a URL"),
        ({"headers": {"bad name": "x"}}, "is not the name of a header"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "characters that a header cannot hold"),
        ({"headers": {"Content-Length": "5"}}, "is set by the grader"),
        ({"rate_limit": 0}, "greater than 0"),
        ({"retries": 3}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(more: dict[str, Any], says: str) -> None:
    """What can be known to be wrong before a run is refused when the settings are read."""
    with pytest.raises(ValidationError) as caught:
        SPEC.config.model_validate({"type": "endpoint", "url": "http://x/", **more})
    assert says in str(caught.value)


def test_rate_limit() -> None:
    """At 20 calls a second, 40 rollouts take a second after the first second's worth."""
    with JudgeServer(lambda call: answer({"score": 1})) as server:
        start_s = time.monotonic()
        grade(server.url, *map(str, range(40)), rate_limit=20)
    for number, at_s in enumerate(sorted(call.at_s for call in server.calls)):
        assert at_s - start_s > (number - 20) / 20


def test_in_a_multi_grader_and_by_the_contract() -> None:
    """The kit for authors passes, and `multi` of another plugin combines it."""

    def behave(call: Call) -> Reply:
        return answer({"score": len(call.body["sample"]["output_text"]) / 10, "metrics": {"n": 1}})

    with JudgeServer(behave) as server:
        mine = {"type": "endpoint", "url": server.url, "deterministic": True}
        raw = {"type": "multi", "graders": {"mine": mine}, "calculate_output": "2 * mine"}
        grader = Registry.discover().build("grader", raw, BuildContext(base_dir=Path()))
        check_grader(grader, [group("a", "bb"), group("", "ccc", "d")], deterministic=True)
        assert [g.reward for g in grader.grade(group("a", "bb"))] == [0.2, 0.4]
        grader.close()
    assert SPEC.deterministic(SPEC.config.model_validate(mine))
    assert not SPEC.deterministic(SPEC.config.model_validate({"url": "http://x/"}))
