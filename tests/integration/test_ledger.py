"""Grades that cost something are asked for once, whatever happens to the run, and what they cost is known."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from rft_core.storage.ledger import Ledger
from rft_core.types import Grade, TokenUsage
from rft_test_plugin.harness import audit, engine, fast_run, fingerprint, summary

PAID = {"type": "test_paid"}
ROLLOUTS = 12 * 16
EVALUATED = 4 * 6 + 2 * 4
"""Validation rows of four evaluations, and the test rows before and after."""


def calls(folder: Path) -> list[str]:
    return (folder / "calls.txt").read_text().split()


def test_no_judge_is_paid_twice(tmp_path: Path) -> None:
    """Killed when a step is graded but not stored, and resumed: no grade is asked for again, the result is that
    of a run that nobody killed, and the summary says what all of it cost."""
    run_file = fast_run(tmp_path, grader=PAID)
    run_dir = tmp_path / "runs" / "fast"
    died = engine("run", run_file, "--name", "fast", env={"RFT_FAILPOINT": "collect.before_store@6"})
    assert died.code == -9
    outcome = engine("resume", run_dir)
    assert outcome.code == 0, outcome.errors
    audit(run_dir)
    assert len(calls(tmp_path)) == ROLLOUTS + EVALUATED
    spend = summary(run_dir)["spend"]
    assert (spend["grades"], spend["hits"]) == (ROLLOUTS + EVALUATED, 16)
    assert spend["cost_usd"] == pytest.approx(0.001 * (ROLLOUTS + EVALUATED))
    assert spend["usage"]["judge"]["prompt_tokens"] == 10 * (ROLLOUTS + EVALUATED)
    assert engine("run", fast_run(tmp_path / "whole", grader=PAID), "--name", "fast").code == 0
    assert fingerprint(run_dir) == fingerprint(tmp_path / "whole" / "runs" / "fast")


def test_equal_completions_are_one_question_to_a_deterministic_grader(tmp_path: Path) -> None:
    """With the ledger on, a text that occurs again for the same row is answered from it; not asked, no grade is kept."""
    sampler = {"type": "scripted", "vocab_size": 2, "tokens": 1}
    grader = {"type": "python_file", "path": "grader.py:grade"}
    (tmp_path / "grader.py").write_text(
        "def grade(sample, item):\n"
        "    with open(__file__.replace('grader.py', 'calls.txt'), 'a') as file:\n"
        "        file.write(item['answer'] + ':' + sample['output_text'] + '\\n')\n"
        "    return float(sample['output_text'])\n"
    )
    run_file = fast_run(tmp_path, processes=(), sampler=sampler, grader=grader, grading={"ledger": True})
    assert engine("run", run_file, "--name", "kept").code == 0
    assert max(Counter(calls(tmp_path)).values()) <= 3  # train, validation and test rows share answers
    asked = len(calls(tmp_path))
    (tmp_path / "calls.txt").unlink()
    assert engine("run", run_file, "--name", "asked", "--set", "grading.ledger=null").code == 0
    assert len(calls(tmp_path)) == ROLLOUTS + EVALUATED > 2 * asked
    assert not (tmp_path / "runs" / "asked" / "ledger.sqlite").exists()
    assert fingerprint(tmp_path / "runs" / "kept")["weights"] == fingerprint(tmp_path / "runs" / "asked")["weights"]


def test_a_budget_for_grading_stops_the_run(tmp_path: Path) -> None:
    """Within a step of the limit, with a checkpoint; with more money it goes on."""
    run_file = fast_run(tmp_path, processes=(), grader=PAID, budget={"max_cost": 0.07})
    run_dir = tmp_path / "runs" / "fast"
    outcome = engine("run", run_file, "--name", "fast")
    assert outcome.code == 130
    stopped = summary(run_dir)
    assert re.search(r"grading has cost \$0\.0[78], and the budget is \$0\.07", stopped["reason"])
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert 0.07 - 0.016 < lines[-1]["cost_usd_total"] < 0.07 + 0.016
    assert engine("resume", run_dir, "--set", "budget.max_cost=9").code == 0
    assert len(calls(tmp_path)) == ROLLOUTS + EVALUATED


def test_the_ledger_outlives_its_process(tmp_path: Path) -> None:
    """What was kept is there for the next one; failed grades are paid for and not kept."""
    usage = {"m": TokenUsage(prompt_tokens=5, completion_tokens=1, cached_tokens=2)}
    good = Grade.score(0.25, sub_rewards={"a": 1.0}, metrics={"x/cost_usd": 0.5}, details={"why": ["é"]}, usage=usage)
    bad = Grade(outcome=Grade.error("other_error", "x").outcome, error_kind="other_error", usage=usage)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.keep([("good", good), ("bad", bad)])
    again = Ledger(tmp_path / "ledger.sqlite")
    assert again.find(["good", "bad", "none"]) == {"good": good}
    spend = again.spend()
    assert (spend.grades, spend.cost_usd) == (2, 0.5)
    assert spend.usage == {"m": TokenUsage(prompt_tokens=10, completion_tokens=2, cached_tokens=4, calls=2)}
