"""The README.md beside a run's final weights: what it is, made from what, how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rft_core.config.run_file import RunConfig

SCORER = (
    "It writes no text: it says how good a completion is, as one number. transformers loads it as "
    "`AutoModelForSequenceClassification`, and a run grades with it by `grader: {type: reward_model, path: …}`."
)


def model_card(config: RunConfig, base_model: str, summary: Mapping[str, Any], *, writes: bool = True) -> str:
    """Markdown with the front matter of Hugging Face model cards. Holds no path but the base model's, and
    nothing from the environment. `writes` is False for a model that says how good a text is."""
    method = str(config.optimizer["type"])
    lines = [
        "---",
        "library_name: transformers",
        f"base_model: {base_model}",
        *([] if writes else ["pipeline_tag: text-classification"]),
        "tags: [reinforcement-fine-tuning, rft-engine]",
        "---",
        f"# {config.name}",
        "",
        f"Trained by rft-engine {summary['versions']['rft-engine']} with `{method}` for {summary['steps']} steps; "
        f"these are the weights of step {summary['result_step']}.",
        "",
        *([] if writes else [SCORER, ""]),
        f"- weights, SHA-256 over tensors: `{summary['final_weights_sha256']}`",
        f"- run journal, SHA-256 over canonical records: `{summary['journal_sha256']}`",
        f"- seed {config.seed}; rollouts graded: {summary['rollouts']}; tokens trained on: {summary['trained_tokens']}",
        "",
    ]
    for split in ("validation", "test"):
        report = summary.get(split)
        if report and report["gain"]:
            lines += [*_table(split, report), ""]
    lines += ["The mean reward is over rows; intervals are 95 % bootstrap intervals.", ""]
    return "\n".join(lines)


def _table(split: str, report: Mapping[str, Any]) -> list[str]:
    before, after, gain = report["before"], report["after"], report["gain"]
    return [
        f"| {split} ({after['rows']} rows) | before | after | gain |",
        "|---|---|---|---|",
        f"| mean reward | {_value(before['reward_mean'], before['ci95'])} | {_value(after['reward_mean'], after['ci95'])} "
        f"| {_value(gain['mean'], gain['ci95'])} |",
        *(
            f"| {name} | {_value(before['graders'][name]['mean'], before['graders'][name]['ci95'])} "
            f"| {_value(grader['mean'], grader['ci95'])} | |"
            for name, grader in after["graders"].items()
            if name in before["graders"]
        ),
    ]


def _value(mean: float, interval: list[float]) -> str:
    return f"{mean:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
