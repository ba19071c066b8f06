"""text_similarity: every metric of the contract, by the libraries that the field uses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rft_core import BuildContext, Grade, Group, Item, Outcome, Rollout
from rft_core.errors import ConfigError
from rft_graders import rft_graders
from rft_graders.config import METRICS

SPECS = {spec.name: spec for spec in rft_graders()}
PAIR = ("fuzzy wuzzy was a bear", "fuzzy wuzzy had no hair")
LONG = "the patient was given ten milligrams of the drug on the first day and twenty on the second"
FAR = "QQQ ZZZ"
OFFLINE = [metric for metric in METRICS if metric != "cosine"]


def grades(metric: str, reference: str, *texts: str, **settings: Any) -> list[Grade]:
    raw = {
        "type": "text_similarity",
        "name": "t",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "evaluation_metric": metric,
        **settings,
    }
    spec = SPECS["text_similarity"]
    grader = spec.build(spec.config.model_validate(raw), BuildContext(base_dir=Path()))
    rollouts = tuple(
        Rollout(ordinal=0, sample=n, seed=1, segments=(), text=text, finish_reason="stop")
        for n, text in enumerate(texts)
    )
    row = {"messages": [{"role": "user", "content": "q"}], "answer": reference}
    return list(grader.grade(Group(ordinal=0, item=Item(key="k", index=0, row=row), rollouts=rollouts)))


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("fuzzy_match", 0.7555555555555555),
        ("bleu", 0.1136),
        ("gleu", 0.2143),
        ("rouge_1", 0.4),
        ("rouge_2", 0.25),
        ("rouge_3", 0.0),
        ("rouge_l", 0.4),
    ],
)
def test_the_guides_pair(metric: str, value: float) -> None:
    """The pair of OpenAI's guide has the values that the libraries of the contract give."""
    (grade,) = grades(metric, PAIR[1], PAIR[0])
    assert grade.reward == (value if metric == "fuzzy_match" else pytest.approx(value, abs=5e-5))


@pytest.mark.parametrize("metric", OFFLINE)
def test_what_every_metric_has_in_common(metric: str) -> None:
    """Near 1 for equal long texts, 0 for disjoint and for empty ones, a near answer above a far one, never
    outside 0 to 1."""
    near = LONG.replace("first day", "third day")
    equal, close, far, empty = (g.reward or 0.0 for g in grades(metric, LONG, LONG, near, FAR, ""))
    assert equal == pytest.approx(1.0, abs=1e-3)
    assert equal > close > far
    assert far < 0.15
    assert empty == 0.0
    assert grades(metric, "", "something")[0].reward == 0.0
    assert all(0.0 <= (g.reward or 0.0) <= 1.0 for g in grades(metric, PAIR[1], PAIR[0], LONG, "fuzzy"))


def test_a_short_answer_can_be_right() -> None:
    """BLEU of one equal word is 1, though it has no 4-gram."""
    assert [g.reward for g in grades("bleu", "42", "42", "43")] == [1.0, 0.0]


@pytest.mark.parametrize("folders", [(), ("corpora/wordnet",)], ids=["absent", "incomplete"])
def test_meteor_without_wordnet_knows_stems(
    folders: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its data METEOR still matches stems, tells synonyms apart from equal words, and warns once."""
    import nltk
    from structlog.testing import capture_logs

    from rft_graders import metrics

    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    metrics._wordnet.cache_clear()
    try:
        with capture_logs() as logs:
            stem, synonym = (g.reward or 0.0 for g in grades("meteor", "the dogs ran", "the dog ran", "the hounds ran"))
            grades("meteor", "a", "b")
    finally:
        metrics._wordnet.cache_clear()
    assert stem > 0.9 > synonym
    assert [entry["event"] for entry in logs] == ["wordnet_missing"]


def test_cosine_needs_an_endpoint() -> None:
    """Without one it is refused with a sentence, and so is an endpoint for another metric."""
    with pytest.raises(ValidationError, match="name an endpoint in embedding_base_url, or choose another metric"):
        grades("cosine", "a", "b")
    with pytest.raises(ValidationError, match="is for the metric cosine, not bleu"):
        grades("bleu", "a", "b", embedding_base_url="http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match="NO_SUCH_KEY_HERE, which api_key_env names, is not set"):
        grades("cosine", "a", "b", embedding_base_url="http://127.0.0.1:1/v1", api_key_env="NO_SUCH_KEY_HERE")


class Embeddings(BaseHTTPRequestHandler):
    """Embeds a text as the counts of a, b and c; fails first as often as `fail` says."""

    fail: list[int]
    seen: list[tuple[str | None, Mapping[str, Any]]]
    answer: bytes | None = None
    """Instead of embeddings."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.headers.get("Authorization"), body))
        if self.fail:
            self.send_error(self.fail.pop())
            return
        rows = [
            {"index": n, "embedding": [text.count(c) - text.count("-") for c in "abc"]}
            for n, text in enumerate(body["input"])
        ]
        data = json.dumps({"data": rows[::-1]}).encode() if self.answer is None else self.answer
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[tuple[str, type[Embeddings]]]:
    handler = type("Handler", (Embeddings,), {"fail": [], "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", handler
        server.shutdown()


def test_cosine_by_an_endpoint(endpoint: tuple[str, type[Embeddings]], monkeypatch: pytest.MonkeyPatch) -> None:
    """One request a group with each text once and the key, a busy endpoint is asked again, answers are put
    in order by their index, and a cosine below 0 counts as 0."""
    monkeypatch.setattr("rft_graders.cosine.RETRY_AFTER_S", (0.01, 0.01))
    monkeypatch.setenv("MY_KEY", "secret")
    url, handler = endpoint
    handler.fail = [503, 429]
    settings = {"embedding_base_url": url, "embedding_model": "m", "api_key_env": "MY_KEY"}
    found = [g.reward for g in grades("cosine", "aab", "aab", "aaaabb", "c", "--", " ", **settings)]
    assert found == [pytest.approx(1.0), pytest.approx(1.0), 0.0, 0.0, 0.0]
    assert len(handler.seen) == 3
    assert handler.seen[-1] == (
        "Bearer secret",
        {"model": "m", "input": ["aab", "aaaabb", "c", "--"], "encoding_format": "float"},
    )


@pytest.mark.parametrize("code", [400, 503])
def test_an_endpoint_that_fails_is_the_graders_failure(
    endpoint: tuple[str, type[Embeddings]], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """No embeddings give no 0 but an error, with the address and the reason."""
    monkeypatch.setattr("rft_graders.cosine.RETRY_AFTER_S", (0.01, 0.01))
    url, handler = endpoint
    handler.fail = [code] * 9
    (grade,) = grades("cosine", "a", "b", embedding_base_url=url)
    assert (grade.outcome, grade.error_kind) == (Outcome.GRADER_ERROR, "other_error")
    assert f"{url}/embeddings gave no embeddings: HTTP Error {code}" in (grade.message or "")
    assert len(handler.seen) == (1 if code == 400 else 3)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (["[NaN, 1]", "[1, 1]"], "finite numbers"),
        (["[1e999, 1]", "[1, 1]"], "finite numbers"),
        (["[1e308, 1e308]", "[1e308, 1e308]"], "finite numbers"),
        ([f"[1{'0' * 400}, 1]", "[1, 1]"], "finite numbers"),
        (["[]", "[]"], "finite numbers"),
        (["[true]", "[true]"], "finite numbers"),
        (["null", "[1]"], "lists of"),
        (["[1, 2]", "[1]"], "all of one length"),
        (["[0, 0]", "[0, 0]"], "zero, so it has no direction"),
        (["[1, 2]"], "1 vectors to 2 texts"),
        (["[1, 2]", "[1, 2"], "not of the form of /embeddings"),
    ],
)
def test_what_is_no_embedding_is_no_zero(endpoint: tuple[str, type[Embeddings]], vectors: list[str], said: str) -> None:
    """Vectors without a direction, of other lengths or of no numbers give an error, never a score."""
    url, handler = endpoint
    rows = [f'{{"index": {n}, "embedding": {vector}}}' for n, vector in enumerate(vectors)]
    handler.answer = f'{{"data": [{", ".join(rows)}]}}'.encode()
    (grade,) = grades("cosine", "a", "b", embedding_base_url=url)
    assert (grade.outcome, grade.error_kind) == (Outcome.GRADER_ERROR, "other_error")
    assert said in (grade.message or "")
