"""`rft-engine grade`: one grade, explained, or many at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rft_core.cli.output import echo_json, literal, number, open_console
from rft_core.errors import ConfigError, DataError


@click.command("grade")
@click.option("--grader", "grader_file", type=click.Path(path_type=Path), help="JSON or YAML file with a grader.")
@click.option("--item", "item_file", type=click.Path(path_type=Path), help="JSON file with the data row.")
@click.option("--sample", help="The completion, as text.")
@click.option("--sample-file", type=click.Path(path_type=Path), help="The same, from a file.")
@click.option(
    "--cases",
    type=click.Path(path_type=Path),
    help='JSONL file; each line {"grader", "item", "model_sample"}. Prints one object a line.',
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.001), default=120.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the object that OpenAI's graders/run answers with.")
def grade_command(
    grader_file: Path | None,
    item_file: Path | None,
    sample: str | None,
    sample_file: Path | None,
    cases: Path | None,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Grade one completion, or each line of a file of cases. Exit code 1 if it could not be graded; with --cases only
    if a grader could not be built or a line is no case."""
    from rft_core.grader_run import grade_text
    from rft_core.registry import Registry
    from rft_core.runs.evaluate_model import read_grader

    registry = Registry.discover()
    if cases is not None:
        if any(v is not None for v in (grader_file, item_file, sample, sample_file)):
            raise ConfigError("--cases brings its own graders, items and samples; leave the other options out")
        return _grade_cases(registry, cases, timeout_s)
    if grader_file is None:
        raise ConfigError("give a grader with --grader FILE, or many cases with --cases FILE")
    raw = read_grader(grader_file)
    item = _read_object(item_file) if item_file is not None else {}
    text = _sample(sample, sample_file)
    answer = grade_text(raw, text, item, registry=registry, base_dir=grader_file.resolve().parent, timeout_s=timeout_s)
    if as_json:
        echo_json(answer)
    else:
        _print(answer)
    return 0 if answer["outcome"]["kind"] in ("score", "sample_invalid", "abstained") else 1


def _sample(sample: str | None, file: Path | None) -> str:
    if (sample is None) == (file is None):
        raise ConfigError("give the completion with --sample TEXT or --sample-file FILE")
    if file is None:
        assert sample is not None
        return sample
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the sample file {file} cannot be read: {error}") from None


def _read_object(file: Path) -> dict[str, Any]:
    from rft_core import strict_json

    try:
        value = strict_json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the item file {file} cannot be read: {error}") from None
    except DataError as error:
        raise error.located(str(file), None) from None
    if not isinstance(value, dict):
        raise ConfigError(f'{file} holds no JSON object; an item is a data row, such as {{"answer": 7}}')
    return value


def _grade_cases(registry: Any, file: Path, timeout_s: float) -> int:
    """One object a line, in order. A case that cannot be graded at all is a line with `error`. Cases with one grader
    share it, as the rollouts of a run do."""
    from rft_core.errors import RftError
    from rft_core.grader_run import OpenGraders, grade_with

    failed = False
    with OpenGraders(registry, file.resolve().parent) as graders:
        for where, case in _cases(file):
            try:
                if not isinstance(case, dict) or not isinstance(case.get("grader"), dict):
                    raise ConfigError("a case is an object with a grader, an item and a model_sample", where=where)
                if not isinstance(case.get("model_sample"), str):
                    raise ConfigError("model_sample must be a text", where=where)
                item = {} if case.get("item") is None else case["item"]
                if not isinstance(item, dict):
                    raise ConfigError("the item must be a JSON object, a data row", where=where)
                answer = grade_with(graders, case["grader"], case["model_sample"], item, timeout_s=timeout_s)
            except RftError as error:
                failed, answer = True, {"error": str(error), "where": where}
            echo_json(answer)
    return 1 if failed else 0


def _cases(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"the file of cases {file} cannot be read: {error}") from None
    for number_, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield f"{file}, line {number_}", json.loads(line)
            except ValueError as error:
                raise ConfigError(f"not valid JSON: {error}", where=f"{file}, line {number_}") from None


def _print(answer: dict[str, Any]) -> None:
    console = open_console()
    outcome = answer["outcome"]
    graded = outcome["kind"] in ("score", "sample_invalid")
    console.print(literal(f"reward {number(answer['reward'])}" if graded else f"no reward: {outcome['kind']}", "bold"))
    if outcome["error"] or outcome["message"]:
        console.print(literal(f"{outcome['error'] or outcome['kind']}: {outcome['message'] or ''}", "yellow"))
    for name, value in {**answer["sub_rewards"], **answer["metadata"]["scores"]}.items():
        console.print(literal(f"  {name} {number(value)}"))
    for model, used in answer["model_grader_token_usage_per_model"].items():
        console.print(literal(f"  {model}: {used['prompt_tokens']} + {used['completion_tokens']} tokens"))
    if answer["details"]:
        console.print(literal(json.dumps(answer["details"], ensure_ascii=False, indent=1)))
    console.print(literal(f"took {answer['metadata']['execution_time'] * 1000:.1f} ms", "dim"))
