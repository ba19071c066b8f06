"""Grades a second in this process, beside the bare functions that the graders call.

    python benchmarks/graders/in_process.py

Groups of 16 rollouts go through `grader.grade(group)`. Each line times the grader and the bare function in
turn, and prints the best rate of each and the median of the ratios. The bare function gets its two texts
ready-made and returns a float; the grader renders its templates and returns typed grades. The bare function
of `regex` is that of `re`, which has no time limit.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rft_core import BuildContext, Group, Item, Rollout, Segment
from rft_core.registry import Registry

SENTENCE = "the patient was given ten milligrams of the drug on the first day and twenty on the second"
ANSWER = "The answer is 42."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="Length of one measurement.")
    parser.add_argument("--group-size", type=int, default=16)
    arguments = parser.parse_args()
    registry = Registry.discover()
    print("| grader | texts | bare function | grader | ratio |")
    print("|---|---|---|---|---|")
    for name, raw, texts, reference, bare in cases():
        grader = registry.build("grader", {"name": "g", **raw}, BuildContext(base_dir=Path()))
        group = group_of([texts[n % len(texts)] for n in range(arguments.group_size)], reference)
        pairs = [(rollout.text, reference) for rollout in group.rollouts]
        check_equal(grader.grade(group), [bare(*pair) for pair in pairs])
        rates: dict[str, list[float]] = {"bare": [], "grader": []}
        for _ in range(arguments.repeats):
            rates["bare"].append(rate(lambda: [bare(*pair) for pair in pairs], arguments))  # noqa: B023
            rates["grader"].append(rate(lambda: grader.grade(group), arguments))  # noqa: B023
        one, other = max(rates["bare"]), max(rates["grader"])
        ratio = statistics.median([g / b for g, b in zip(rates["grader"], rates["bare"], strict=True)])
        length = f"{len(texts[0].split())} words" if len(texts[0].split()) > 1 else f"{len(texts[0])} characters"
        print(f"| `{name}` | {length} | {one:,.0f}/s | {other:,.0f}/s | {ratio:.2f} |", flush=True)
        grader.close()


Bare = Callable[[str, str], float]


def cases() -> Iterator[tuple[str, Mapping[str, Any], list[str], str, Bare]]:
    """(label, settings, completions, reference, bare function)"""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from nltk.translate.gleu_score import sentence_gleu
    from nltk.translate.meteor_score import meteor_score
    from rapidfuzz import fuzz, utils
    from rouge_score.rouge_scorer import RougeScorer

    pair = {"input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
    check = {"type": "string_check", **pair}
    yield "string_check eq", {**check, "operation": "eq"}, ["42", "41"], "42", lambda t, r: 1.0 if t == r else 0.0
    yield (
        "string_check ilike",
        {**check, "operation": "ilike"},
        [ANSWER],
        "is 42",
        lambda t, r: 1.0 if r.casefold() in t.casefold() else 0.0,
    )
    search = re.compile(r"is (\d+)").search
    yield (
        "regex",
        {"type": "regex", "pattern": r"is (\d+)", "group": 1, "reference": "{{item.answer}}"},
        [ANSWER, "I do not know"],
        "42",
        lambda t, r: float((m := search(t)) is not None and m[1] == r),
    )
    near, far = SENTENCE, " ".join(SENTENCE.split()[::-1])
    similar = {"type": "text_similarity", **pair}
    smooth = SmoothingFunction().method1
    measures: dict[str, Bare] = {
        "fuzzy_match": lambda t, r: fuzz.WRatio(t, r, processor=utils.default_process) / 100,
        "bleu": lambda t, r: sentence_bleu([r.split()], t.split(), smoothing_function=smooth, auto_reweigh=True),
        "gleu": lambda t, r: sentence_gleu([r.split()], t.split()),
        "meteor": meteor_with(meteor_score),
    }
    for kind in ("rouge1", "rouge5", "rougeL"):
        measures[f"rouge_{kind[5:].lower()}"] = rouge(RougeScorer([kind], use_stemmer=False), kind)
    for metric, measure in measures.items():
        yield f"text_similarity {metric}", {**similar, "evaluation_metric": metric}, [near, far], near, measure


def rouge(scorer: Any, kind: str) -> Bare:
    return lambda t, r: scorer.score(r, t)[kind].fmeasure


def meteor_with(score: Any) -> Bare:
    """With the WordNet that the grader would use."""
    from rft_graders.metrics import _NoSynonyms, _wordnet

    wordnet = _wordnet() or _NoSynonyms()
    return lambda t, r: score([r.split()], t.split(), wordnet=wordnet)


def group_of(texts: list[str], reference: str) -> Group:
    row = {"messages": [{"role": "user", "content": "What is 6 × 7?"}], "answer": reference}
    segments = (Segment(role="assistant", token_ids=tuple(range(32)), trained=True),)
    rollouts = tuple(
        Rollout(ordinal=0, sample=n, seed=n, segments=segments, text=text, finish_reason="stop")
        for n, text in enumerate(texts)
    )
    return Group(ordinal=0, item=Item(key="rows.jsonl:1", index=0, row=row), rollouts=rollouts)


def check_equal(grades: Any, expected: list[float]) -> None:
    if [grade.reward for grade in grades] != expected:
        raise SystemExit(f"the grader and the bare function differ: {[g.reward for g in grades]} and {expected}")


def rate(call: Callable[[], object], arguments: argparse.Namespace) -> float:
    """Grades a second of a call that makes a group's."""
    calls, start_s = 0, time.perf_counter()
    end_s = start_s + arguments.seconds
    while (now := time.perf_counter()) < end_s:
        call()
        calls += 1
    return calls * arguments.group_size / (now - start_s)


if __name__ == "__main__":
    main()
