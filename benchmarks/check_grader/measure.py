"""Bad graders that `check-grader` catches and sound ones that it flags, in sets written without sight of it.

    python benchmarks/check_grader/measure.py [first second third fourth] [--no-target]

Each set is a folder with `bad/` and `sound/`; a grader is `NAME.json`, its rows `NAME.jsonl`, and `NAME.target`, if
there, says how a right answer is written. Prints a table, and the graders that were missed or flagged.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import rft_core.api as rft

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=["first", "second", "third", "fourth"])
    parser.add_argument("--no-target", action="store_true", help="Let the check find out what a right answer is.")
    arguments = parser.parse_args()
    lines, notes = [], []
    for name in arguments.sets:
        missed, flagged, counts = [], [], {}
        for kind in ("bad", "sound"):
            files = sorted((HERE / name / kind).glob("*.json"))
            counts[kind] = len(files)
            for file in files:
                sound = is_sound(file, use_target=not arguments.no_target)
                if kind == "bad" and sound:
                    missed.append(file.stem)
                if kind == "sound" and not sound:
                    flagged.append(file.stem)
        caught = counts["bad"] - len(missed)
        lines.append(f"| {name} | {caught} of {counts['bad']} | {len(flagged)} of {counts['sound']} |")
        notes.append(f"{name}: missed {', '.join(missed) or 'none'}; flagged {', '.join(flagged) or 'none'}")
    print("\n".join(["| set | bad caught | sound flagged |", "|---|---|---|", *lines, "", *notes]))


def is_sound(file: Path, *, use_target: bool) -> bool:
    target = file.with_suffix(".target")
    told = target.read_text(encoding="utf-8").strip() if use_target and target.exists() else None
    values = json.loads(file.read_text(encoding="utf-8"))
    if "path" in values:
        values["path"] = str(file.with_name(values["path"]))
    return rft.check_grader(values, file.with_suffix(".jsonl"), target=told).sound


if __name__ == "__main__":
    main()
