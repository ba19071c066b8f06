"""Bad graders that `check-grader` catches and sound ones that it flags, in sets written without sight of it.

    python benchmarks/check_grader/measure.py [first … ninth] [--no-target] [--jobs 2]

Each set is a folder with `bad/` and `sound/`; a grader is `NAME.json`, its rows `NAME.jsonl`, and `NAME.target`, if
there, says how a right answer is written. Prints a table, and the graders that were missed or flagged.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import rft_core.api as rft

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "sets",
        nargs="*",
        default=["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"],
    )
    parser.add_argument("--no-target", action="store_true", help="Let the check find out what a right answer is.")
    parser.add_argument("--jobs", type=int, default=2, help="Checks at a time.")
    arguments = parser.parse_args()
    lines, notes = [], []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for name in arguments.sets:
            reasons: dict[str, dict[str, str]] = {}
            for kind in ("bad", "sound"):
                files = sorted((HERE / name / kind).glob("*.json"))
                found = pool.map(partial(first_error, use_target=not arguments.no_target), files)
                reasons[kind] = {file.stem: error for file, error in zip(files, found, strict=True)}
            bad, sound = reasons["bad"], reasons["sound"]
            missed = [grader for grader, error in bad.items() if not error]
            flagged = [f"{grader} ({error})" for grader, error in sound.items() if error]
            lines.append(f"| {name} | {len(bad) - len(missed)} of {len(bad)} | {len(flagged)} of {len(sound)} |")
            notes.append(f"{name}: missed {', '.join(missed) or 'none'}; flagged {', '.join(flagged) or 'none'}")
    print("\n".join(["| set | bad caught | sound flagged |", "|---|---|---|", *lines, "", *notes]))


def first_error(file: Path, *, use_target: bool) -> str:
    """Why the check refuses a grader; empty if it is sound."""
    target = file.with_suffix(".target")
    told = target.read_text(encoding="utf-8").strip() if use_target and target.exists() else None
    values = json.loads(file.read_text(encoding="utf-8"))
    if "path" in values:
        values["path"] = str(file.with_name(values["path"]))
    report = rft.check_grader(values, file.with_suffix(".jsonl"), target=told)
    return "; ".join(f"{e.kind}: {e.message}" for e in report.errors[:1])


if __name__ == "__main__":
    main()
