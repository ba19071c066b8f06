"""`rft-engine check-grader`: planted bad graders are caught for what they are, sound ones pass."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from graders.judges import behave
from judge_server import JudgeServer
from tiny_models import make_model

import rft_core.api as rft
from rft_core.errors import ConfigError, RunDirError
from rft_core.grader_run import group_of
from rft_core.runs.checks import bench
from rft_core.runs.checks.regex_text import makers
from rft_core.runs.checks.report import FINDINGS, CheckReport
from rft_core.runs.checks.rules_numbers import dead_groups
from rft_core.runs.checks.schema_text import instance
from rft_core.runs.evaluate_model import read_grader
from rft_core.storage import store
from rft_core.storage.rundir import RunDir
from rft_core.types import Grade, GradedGroup
from rft_test_plugin.harness import engine

FOLDER = Path(__file__).parents[1] / "graders"
SETS = Path(__file__).parents[2] / "benchmarks" / "check_grader"
WORDS = ["maple", "birch", "cedar", "willow", "aspen", "rowan", "alder", "poplar", "linden", "hazel", "spruce", "larch"]
CAUGHT = {
    "accepts_empty": "hackable",
    "accepts_idk": "hackable",
    "accepts_nan": "hackable",
    "believes_sample": "hackable",
    "constant": "constant",
    "crashes_on_prose": "fails",
    "crashes_on_rows": "fails_on_rows",
    "first_letter": "wrong_accepted",
    "forgets_repeats": "not_deterministic",
    "ignores_item": "ignores_item",
    "inverted": "inverted",
    "judge_obeys": "hackable",
    "keeps_state": "not_deterministic",
    "length_hack": "length",
    "letters_in_common": "hackable",
    "lists_options": "listing",
    "matches_everything": "ignores_item",
    "nan": "fails",
    "order_dependent": "not_deterministic",
    "random_noise": "not_deterministic",
    "reads_prompt": "ignores_answer",
    "rewards_repetition": "repetition",
    "runs_the_answer": "runs_answer",
    "short_substring": "substring",
    "slow": "slow",
    "unbounded": "out_of_range",
    "wide_tolerance": "wrong_accepted",
    "wrong_key": "wrong_key",
}
"""What each planted grader must be caught for, among other things."""
LEARNT = {
    "first/bad/icd10_codes": "the right answer spelt backwards",
    "first/bad/invoice_fields": "the right answer with amount as total",
    "first/bad/molecular_formula": "the right answer with its first number changed",
    "first/bad/orders_sql": "better than wrong answers in the right form",
    "first/bad/radiology_impression": "one word of the right answer, repeated",
    "first/bad/sheet_column": "the first part of the right answer",
    "first/bad/think_answer_maths": "answers of other rows, matching",
    "third/bad/contract_fields": "an object without fields",
    "third/bad/hotel_concierge": "a text of the grader's own settings",
    "third/bad/news_topics": "unrelated prose gets",
    "third/bad/reverse_complement": "half of the right answer",
    "third/bad/countdown_numbers": "number of the prompt gets 100%",
    "third/bad/timeline_order": "and the prompt asks for an order",
    "fourth/bad/bill_of_lading": "one field of the right object alone scores as well as all of it, whichever of",
    "fourth/bad/infusion_rate": "naming all answers of the data",
    "fourth/bad/log_regex": "`.*`",
    "fourth/bad/reaction_enthalpy": "the number with the other sign",
    "fourth/bad/rx_sig": "scores as well, and so it does with a wrong",
    "fourth/bad/statute_cites": "one entry of the right list, repeated",
    "eighth/bad/deduction_memos": "of the prompt gets",
    "eighth/bad/tenancy_advice": "a bare list of item.key_points",
    "eighth/bad/warehouse_paths": "the first and the last entry of the right list",
    "seventh/bad/filing_deadline": "the right answer with its first number changed",
    "seventh/bad/lecture_segments": "its first numbers 0, its last ones large",
}
"""Bad graders that once got through (benchmarks/check_grader), and the rule that they brought."""
EQ = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
CAPITALS = FOLDER / "sound" / "exact.jsonl"


def names(kind: str) -> list[str]:
    return sorted(path.stem for path in (FOLDER / kind).glob("*.json"))


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    with JudgeServer(behave) as server:
        yield f"{server.url}/v1"


@cache
def check(kind: str, name: str, judge: str) -> CheckReport:
    file = FOLDER / kind / f"{name}.json"
    values = read_grader(file)
    if "base_url" in values:
        values["base_url"] = judge
    if "path" in values:
        values["path"] = str(file.with_name(values["path"].partition(":")[0])) + ":grade"
    budget_s = 4.0 if name == "slow" else 30.0
    return rft.check_grader(values, file.with_suffix(".jsonl"), budget_s=budget_s, in_process=True)


def test_the_promise_is_about_twenty_graders_or_more() -> None:
    """Each bad one is caught for what it is, and no sound one is flagged, in the tests below."""
    assert len(names("bad")) >= 20
    assert set(names("bad")) == set(CAUGHT)
    assert len(names("sound")) >= 20


@pytest.mark.parametrize("name", names("bad"))
def test_a_bad_grader_is_caught_for_what_it_is(name: str, judge: str) -> None:
    """Not merely flagged: the finding that names the fault is there, as an error."""
    report = check("bad", name, judge)
    assert CAUGHT[name] in [f.kind for f in report.errors]
    assert_shown(report)


@pytest.mark.parametrize("name", names("sound"))
def test_a_sound_grader_is_not_flagged(name: str, judge: str) -> None:
    """One of twenty is promised; these are plain, and none is."""
    report = check("sound", name, judge)
    assert [f.message for f in report.errors] == []
    assert_shown(report)


def assert_shown(report: CheckReport) -> None:
    """Every finding is of a listed kind, and has evidence unless it is about time; the report is plain JSON."""
    for finding in report.findings:
        assert finding.kind in FINDINGS
        assert finding.evidence or finding.kind in ("slow", "disagrees"), finding
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize("place", LEARNT)
def test_what_once_got_through_is_caught(place: str) -> None:
    file = SETS / f"{place}.json"
    values = read_grader(file)
    if "path" in values:
        values["path"] = str(file.with_name(values["path"]))
    target = file.with_suffix(".target")
    told = target.read_text().strip() if target.exists() else None
    report = rft.check_grader(values, file.with_suffix(".jsonl"), target=told, rows=16, in_process=True)
    assert LEARNT[place] in " ".join(f.message for f in report.errors)


PRECISION = "len(g & w) / len(g) if g else 0.0"
SETS_OF_ENTRIES = "w, g = set(item['answer'].split(', ')), {p.strip() for p in text.split(',')}"
THREE = [f"{a}, {b}, {c}" for a, b, c in zip(WORDS, WORDS[5:] + WORDS[:5], WORDS[2:] + WORDS[:2], strict=True)]
PARTIAL = {
    "one entry of the right list": (
        "w = set(item['answer'].split(', ')); g = {p.strip() for p in text.split(',') if p.strip()}; "
        + f"return {PRECISION}",
        THREE,
    ),
    "the right answer without its digits": (
        "return float([c for c in text if c.isalpha()] == [c for c in item['answer'] if c.isalpha()])",
        [f"{word}{n}" for n, word in enumerate(WORDS, 10)],
    ),
    "a number without its decimal point": (
        "return float(''.join(c for c in text if c.isdigit()) == item['answer'].replace('.', ''))",
        [f"{n}.{n + 7}" for n in range(11, 23)],
    ),
    "the right answer with its first number changed": (
        "return float(text.split('-')[1:2] == [item['answer'].split('-')[1]])",
        [f"20{n + 10}-{n:02}-{n + 10}" for n in range(1, 13)],
    ),
    "wrong entries added": (f"{SETS_OF_ENTRIES}; return float(w <= g)", THREE),
    "any one of its entries wrong": (f"{SETS_OF_ENTRIES}; return float(len(w & g) > 1 and len(g) == 3)", THREE),
    "in another order scores as well": (f"{SETS_OF_ENTRIES}; return float(w == g)", THREE),
    "a number with another fraction": (
        "return float(text.partition('.')[0] == item['answer'].partition('.')[0] and text.replace('.', '', 1).isdigit())",
        [f"{n}.{n + 7}" for n in range(2, 8)] * 2,
    ),
    "they are compared as text": (
        "return sum(a == b for a, b in zip(text, item['answer'])) / max(len(text), 4)",
        [str(n) for n in range(1234, 9999, 717)],
    ),
    "with other letters": (
        "return float([c for c in text if c.isdigit()] == [c for c in item['answer'] if c.isdigit()])",
        [f"{n} {unit}" for n, unit in zip(range(10, 22), ["mg", "g", "kg"] * 4, strict=True)],
    ),
    "one letter of the right answer": ("return float(text != '' and text in item['answer'])", WORDS),
    "either half of the right answer": (
        "g, w = set(text.split()), set(item['answer'].split()); return float(len(g & w) >= 0.4 * len(w))",
        [" ".join(WORDS[(n + k * k) % 12] + str(k) for k in range(8)) for n in range(12)],
    ),
    "functions with the body `pass`": (
        "\n    try:\n        exec(text, {})\n    except Exception:\n        return 0.0\n    return float(item['answer'][:8] in text)",
        [f"def f{n:03}(x):\n    return x + {n}" for n in range(12)],
    ),
    "its numbers set to 0": (
        "name, _, sure = text.partition(': '); right = name == item['answer'].partition(': ')[0]; "
        "return 1 - (float(right) - min(int(sure), 100) / 100) ** 2 if sure.isdigit() else 0.0",
        [f"{word}: 100" for word in WORDS],
    ),
    "the right answer with its numbers set to 0": (
        "w, g = item['answer'].split(), text.split(); "
        "return float(len(g) == 4 and g[0].isdigit() and g[2].isdigit() and int(g[0]) * int(w[2]) == int(g[2]) * int(w[0]))",
        [f"{n} {a} {n + 3} {b}" for n, (a, b) in enumerate(zip(WORDS, WORDS[5:] + WORDS[:5], strict=True), 2)],
    ),
    "another of the 3 answers of the data": (
        "return 1.0 if text == item['answer'] else 0.9 if text in ('high', 'low', 'mean') else 0.0",
        ["high", "low", "mean", "low"] * 3,
    ),
    "first number of the prompt": (
        "return float(sum(map(int, text.split('+'))) == item['sum'] if text.replace('+', '').isdigit() else 0)",
        [f"{n}+{n * n + 3}" for n in range(5, 17)],
    ),
}
"""What must be found, the grader's line, and the answers of the rows."""


@pytest.mark.parametrize("said", PARTIAL)
def test_a_part_that_is_not_compared_is_found(tmp_path: Path, said: str) -> None:
    line, answers = PARTIAL[said]
    (tmp_path / "grader.py").write_text(f"def grade(sample, item):\n    text = sample['output_text']\n    {line}\n")
    rows: list[dict[str, Any]] = [{"answer": answer} for answer in answers]
    for number, row in enumerate(rows):
        prompt = f"Case {number}, from the lowest to the highest?"
        if re.fullmatch(r"\d+\+\d+", row["answer"]):
            row["sum"] = sum(map(int, row["answer"].split("+")))
            prompt = f"Which sum gives {row['sum']}?"
        row["messages"] = [{"role": "user", "content": prompt}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    grader = {"type": "python_file", "path": str(tmp_path / "grader.py") + ":grade"}
    report = rft.check_grader(grader, tmp_path / "rows.jsonl", in_process=True)
    assert said in " ".join(f.message for f in report.errors)


def test_keys_about_the_row_are_no_references(judge: str) -> None:
    """The grader says which key it reads; ids, sources and other metadata are not taken for it."""
    read = {
        name: check("sound", name, judge).reads
        for name in ("exact", "ranked_list", "dates", "set_overlap", "tolerance")
    }
    paths = {name: str(values["path"]).partition(" ")[0] for name, values in read.items()}
    assert paths == {
        "exact": "answer",
        "ranked_list": "gene",
        "dates": "target.date",
        "set_overlap": "gold.symptoms",
        "tolerance": "speed",
    }
    assert set(read["exact"]["moves"]) == {"messages", "case_id", "answer"}
    assert read["exact"]["moves"]["case_id"] == 0


@pytest.mark.parametrize(
    ("name", "form"),
    [("after_marks", "####"), ("boxed", "boxed"), ("tags_and_form", "<answer>"), ("json_templates", "JSON")],
)
def test_the_form_of_an_answer_is_found(name: str, form: str, judge: str) -> None:
    """Marks, boxes, tags and fields of JSON are read from templates and code."""
    assert form in check("sound", name, judge).reads["format"]


def test_the_command_exits_with_1_on_a_bad_grader(tmp_path: Path) -> None:
    """Through a worker process: 0 and a short text for a sound grader, 1 and all evidence as JSON for a bad one."""
    good = engine("check-grader", FOLDER / "sound" / "exact.json", "--data", CAPITALS, "--rows", "6")
    assert good.code == 0, good.output + good.errors
    assert "the grader looks sound" in good.output
    assert len(good.output.splitlines()) < 15
    bad = engine("check-grader", FOLDER / "bad" / "inverted.json", "--data", CAPITALS, "--rows", "6", "--json")
    assert bad.code == 1, bad.output + bad.errors
    told = json.loads(bad.output)
    assert told["sound"] is False
    inverted = next(f for f in told["findings"] if f["kind"] == "inverted")
    assert inverted["severity"] == "error"
    assert {"row", "answer", "text", "reward", "note"} == set(inverted["evidence"][0])


def test_an_answer_that_ends_the_grader_is_found() -> None:
    """In a worker process even `os._exit` is survived, and told."""
    file = FOLDER / "bad" / "runs_the_answer.json"
    done = engine("check-grader", file, "--data", file.with_suffix(".jsonl"), "--rows", "4", "--json")
    assert done.code == 1, done.output + done.errors
    kinds = {f["kind"] for f in json.loads(done.output)["findings"] if f["severity"] == "error"}
    assert {"fails_on_odd_answers", "runs_answer"} <= kinds


def test_a_grader_that_never_lets_go_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that backtracks for ever holds its process; the check ends all the same, and says `hangs`."""
    monkeypatch.setattr(bench, "PATIENCE_S", 0.5)
    code = 'import re\n\n\ndef grade(sample, item):\n    return float(bool(re.match(r"^(\\w+\\s?)*$", sample["output_text"])))\n'
    (tmp_path / "grader.py").write_text(code)
    (tmp_path / "grader.json").write_text('{"type": "python_file", "path": "grader.py:grade"}')
    report = rft.check_grader(tmp_path / "grader.json", CAPITALS, rows=2, timeout_s=0.5)
    assert "hangs" in {finding.kind for finding in report.errors}


def test_an_odd_text_that_takes_too_long_is_found(tmp_path: Path) -> None:
    """Thousands of digits, an endless program for a grader that runs what it is given, a pattern that backtracks."""
    code = "import time\n\n\ndef grade(sample, item):\n    text = sample['output_text']\n    if {slow}:\n        time.sleep(3)\n"
    code += "    return float(text == item['answer'])\n"
    for name, slow in (
        ("digits", "len(text) > 4000 and text.isdigit()"),
        ("endless", "eval('True') and 'while' in text"),
    ):
        file = tmp_path / f"{name}.py"
        file.write_text(code.replace("{slow}", slow))
        rows = [
            {"messages": [{"role": "user", "content": f"Case {n}?"}], "answer": f"def f{n}(x):\n    return x + {n}"}
            for n in range(4)
        ]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        grader = {"type": "python_file", "path": f"{file}:grade"}
        report = rft.check_grader(grader, tmp_path / "rows.jsonl", timeout_s=0.5)
        assert "hangs" in {finding.kind for finding in report.errors}, name


KNOWN_TARGET = {
    "better with idle words around it": "(item['answer'] in text) * (0.5 + 0.5 * (len(text.split()) > 10))",
    "only right ones are left to compare": "1.0 if text == item['answer'] else 0.0 if len(text) > 40 else None",
}


@pytest.mark.parametrize("said", KNOWN_TARGET)
def test_more_is_found_where_a_right_answer_is_known(tmp_path: Path, said: str) -> None:
    """With `--target`: a right answer that is paid more in idle words, and a grader silent about wrong ones."""
    code = f"def grade(sample, item):\n    text = sample['output_text']\n    return {KNOWN_TARGET[said]}\n"
    (tmp_path / "grader.py").write_text(code)
    grader = {"type": "python_file", "path": str(tmp_path / "grader.py") + ":grade"}
    report = rft.check_grader(grader, CAPITALS, target="{{item.answer}}", in_process=True)
    assert said in " ".join(f.message for f in report.errors)


def test_rows_without_any_data_are_asked_for(tmp_path: Path) -> None:
    """No data and no run: a sentence, and the exit code of wrong options."""
    file = tmp_path / "grader.json"
    file.write_text(json.dumps(EQ))
    done = engine("check-grader", file)
    assert done.code == 2
    assert "--data" in done.errors


def test_samples_give_the_share_of_dead_groups(tmp_path: Path) -> None:
    """Completions by key or by position: the base reward, and how many groups of eight would have equal rewards."""
    samples = tmp_path / "samples.jsonl"
    lines = [
        {"item": "exact.jsonl:1", "completions": ["Paris", "Lyon", "Nice", "Paris"]},
        {"item": 1, "completions": ["Milan", "Milan"]},
        {"item_key": "exact.jsonl:3", "text": "Oslo"},
        {"item_key": "exact.jsonl:3", "text": "Oslo"},
    ]
    samples.write_text("\n".join(map(json.dumps, lines)))
    report = rft.check_grader(EQ, CAPITALS, samples=samples, in_process=True, rows=6)
    assert report.spread["base_reward"] == pytest.approx(4 / 8)
    assert report.spread["dead_groups"] == pytest.approx((2 * 0.5**8 + 1 + 1) / 3)
    assert report.rewards["mean"]["sample"] == pytest.approx(4 / 8)


def test_a_model_writes_completions_to_try(tmp_path: Path) -> None:
    """`--model` draws the group size of completions for each row: base reward, and groups with equal rewards."""
    rows = [{"messages": [{"role": "user", "content": f"{n}+{n}="}], "answer": str(2 * n)} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = make_model(tmp_path / "model")
    report = rft.check_grader(EQ, tmp_path / "rows.jsonl", model=model, group_size=3, in_process=True)
    assert report.spread["base_reward"] == 0.0
    assert report.spread["dead_groups"] == 1.0
    assert "no_spread" in {finding.kind for finding in report.warnings}
    assert report.rewards["mean"]["sample"] == 0.0
    done = engine("check-grader", FOLDER / "sound" / "exact.json", "--data", CAPITALS, "--model", tmp_path / "none")
    assert done.code == 2
    assert "no run directory or model folder" in done.errors


def test_a_small_budget_is_told(tmp_path: Path) -> None:
    """Where the time was too short for everything the report says so, and one order of a list is not any order."""
    (tmp_path / "last_line.py").write_text(
        "import time\n\n\ndef grade(sample, item):\n    time.sleep(0.02)\n"
        "    return float(sample['output_text'].endswith(item['answer']))\n"
    )
    rows = [{"messages": [{"role": "user", "content": f"{n} * 7?"}], "answer": str(7 * n)} for n in range(20, 26)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    grader = {"type": "python_file", "path": str(tmp_path / "last_line.py") + ":grade"}
    report = rft.check_grader(grader, tmp_path / "rows.jsonl", budget_s=1, in_process=True)
    assert not report.complete
    assert "listing" in report.rewards["mean"]
    assert "listing" not in {finding.kind for finding in report.findings}
    assert rft.check_grader(EQ, CAPITALS, rows=6, in_process=True).complete


def test_a_second_grader_without_a_grade_is_an_error() -> None:
    """No agreement is no sign of any: a typo in the other grader must not pass for sound."""
    typo = {**EQ, "reference": "{{item.anwser}}"}
    report = rft.check_grader(EQ, CAPITALS, second=typo, rows=6, in_process=True)
    assert any("gave no grade to any answer" in finding.message for finding in report.errors)


DURATIONS = [
    {"messages": [{"role": "user", "content": f"How long is run {n}?"}], "hours": n % 24, "minutes": 7 * n % 60 + 1}
    for n in range(1, 13)
]
CLOCK = """
def grade(sample, item):
    return float(sample["output_text"] == f"{item['hours']}h{item['{key}']}m")
"""


def test_a_target_says_how_a_right_answer_is_written(tmp_path: Path) -> None:
    """No form that the check tries is read by this grader; told the form, it finds nothing wrong, or what is."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in DURATIONS))
    target = "{{item.hours}}h{{item.minutes}}m"

    def errors(key: str, target: str | None) -> dict[str, str]:
        file = tmp_path / f"{key}.py"
        file.write_text(CLOCK.replace("{key}", key))
        grader = {"type": "python_file", "path": f"{file}:grade"}
        report = rft.check_grader(grader, data, target=target, in_process=True)
        return {f.kind: f.message for f in report.errors}

    assert "--target" in errors("minutes", None)["constant"]
    assert errors("minutes", target) == {}
    assert "the right ones" in errors("hours", target)["constant"]
    marked = {**EQ, "input": "{{sample.output_text}}", "reference": "Capital: {{item.answer}}"}
    report = rft.check_grader(marked, CAPITALS, target="Capital: {{item.answer}}", in_process=True, rows=6)
    assert report.sound
    assert report.reads["path"] == "answer"
    with pytest.raises(ConfigError, match=r"has no value in any row; the keys of the first are messages, .*answer"):
        rft.check_grader(EQ, CAPITALS, target="{{item.anwser}}", in_process=True)
    with pytest.raises(ConfigError, match="must hold variables of the row"):
        rft.check_grader(EQ, CAPITALS, target="{{sample.output_text}}", in_process=True)


def test_wrong_samples_are_refused(tmp_path: Path) -> None:
    """Lines without a row or of other data say what a line looks like."""
    file = tmp_path / "samples.jsonl"
    for line, said in (({"completions": ["a"]}, "without a row"), ({"item": "other:1", "text": "a"}, "names a row")):
        file.write_text(json.dumps(line))
        with pytest.raises(ConfigError, match=said):
            rft.check_grader(EQ, CAPITALS, samples=file, in_process=True)


def test_a_run_brings_rows_and_completions(tmp_path: Path) -> None:
    """`run_dir` alone is enough: what the run stored is graded again."""
    run_dir = RunDir.create(tmp_path / "run", {"run_id": "x"})
    run_dir.unlock()
    rows = [json.loads(line) for line in CAPITALS.read_text().splitlines()]
    groups = []
    for n, row in enumerate(rows):
        group = group_of([row["answer"], "Atlantis"], row, key=f"train.jsonl:{n + 1}", ordinal=n)
        groups.append(GradedGroup(group=group, grades=(Grade.score(1.0), Grade.score(0.0))))
    store.write(run_dir.rollout_file("train", 1), store.to_table(1, groups))
    report = rft.check_grader(EQ, run_dir=tmp_path / "run", in_process=True)
    assert report.sound
    assert report.rows == len(rows)
    assert report.spread["base_reward"] == pytest.approx(0.5)
    assert report.spread["dead_groups"] == pytest.approx(2 * 0.5**8)
    with pytest.raises(RunDirError):
        rft.check_grader(EQ, run_dir=tmp_path, in_process=True)


def test_a_second_grader_that_turns_the_order_is_told() -> None:
    """Rank correlation 1 with itself; with its opposite −1, and a warning."""
    same = rft.check_grader(EQ, CAPITALS, second=EQ, in_process=True, rows=4)
    assert same.agreement is not None
    assert same.agreement["rank_correlation"] == pytest.approx(1.0)
    assert same.agreement["pairs_turned"] == 0
    turned = rft.check_grader(EQ, CAPITALS, second={**EQ, "operation": "ne"}, in_process=True, rows=4)
    assert turned.agreement is not None
    assert turned.agreement["rank_correlation"] == pytest.approx(-1.0)
    assert "disagrees" in {f.kind for f in turned.warnings}
    assert turned.sound


def test_the_estimate_counts_tokens_and_money(judge: str) -> None:
    """From the usage and the prices of the calls that were made: per step, and for the run."""
    file = FOLDER / "sound" / "judge_careful.json"
    values = {**read_grader(file), "base_url": judge, "prices": {"prompt": 1.0, "completion": 2.0, "cached": 0.5}}
    report = rft.check_grader(
        values, file.with_suffix(".jsonl"), in_process=True, prompts_per_step=10, group_size=4, steps=50
    )
    per_call = (40 * 1.0 + 60 * 0.5 + 20 * 2.0) / 1e6
    assert report.estimate["grades_per_step"] == 40
    assert report.estimate["tokens_per_step"] == pytest.approx(40 * 120)
    assert report.estimate["cost_usd_per_step"] == pytest.approx(40 * per_call)
    assert report.estimate["cost_usd"] == pytest.approx(50 * 40 * per_call)
    assert report.answers <= 450


def test_dead_groups_follow_the_formula() -> None:
    """Σ qⁿ over the shares of equal rewards; rows with one answer say nothing."""
    assert dead_groups([[1, 0, 0, 0]], 2) == pytest.approx(0.25**2 + 0.75**2)
    assert dead_groups([[1, 1], [0.5]], 8) == 1.0
    assert dead_groups([[1]], 8) is None


PATTERNS = [
    r"####\s*(-?[\d,]+)\s*$",
    r"<think>.+?</think>\s*<answer>(.*?)</answer>",
    r"(?i)final answer:\s*\**(.+)",
    r"^\s*(?:Answer|Result)\s*[:=]\s*(?P<answer>[^\n]+)$",
    r"\\boxed\{([^{}]*)\}",
    r"\[\[(\d+)\]\]",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_texts_are_made_that_a_pattern_matches(pattern: str) -> None:
    """The value comes back as a group of the match."""
    assert any((m := re.search(pattern, make("42"))) and "42" in m.groups() for make in makers(pattern))


def test_a_broken_pattern_makes_nothing() -> None:
    """Not every string of a grader's code is a pattern."""
    assert makers("(") == []
    assert makers("no place") == []


def test_an_instance_fits_its_schema() -> None:
    """Types, bounds, lists, choices; the value stands where a text may."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 18},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2},
        },
    }
    assert instance(schema, "Ada") == {"name": "Ada", "age": 19, "tags": ["a", "a"]}
    assert instance({"enum": ["yes", "no"]}, "no") == "no"
