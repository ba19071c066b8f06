"""What becomes of a run whose grader fails now and then, beside the same run with a grader that never does.

    python benchmarks/flaky_grader/compare.py --seeds 5

The arithmetic example, with a longer warm start, a shorter RFT stage and a grader that is a function. For each seed
one warm start is shared by three runs, which differ by their grader alone:

    sound     never fails
    random    raises for 10.5 % of the answers, and hangs for 0.3 %: beyond `grading.timeout_s`, which costs the whole
              group of 16, so that 15 % of all grades fail
    by length raises with a probability of 1.15 % for each character: worked answers, which are the right ones,
              fail six times as often as guesses; 20 % fail once all are worked, so the limit is 25 % here

Accuracy is that of the final policy on all 512 test rows, read from the stored completions, so that no failure of a
grader touches the measurement. As the runs end near 1, the mean accuracy of all answers that were sampled for
training is compared too: it is lower where learning takes longer. Last, a grader that fails for half of the answers has to stop its run, which is
resumed once the grader is mended, and is compared with the sound run too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import rft_core.api as rft
from rft_core.errors import TooManyErrorsError
from rft_core.storage import store
from rft_core.storage.rundir import RunDir

HERE = Path(__file__).parent
RUN_FILE = HERE.parent.parent / "examples" / "arithmetic" / "run.yaml"
SETTINGS = (
    "stages.warm-up.training.steps=480",
    "stages.rft.training={steps: 16, batch_size: 32, group_size: 16, unit_size: 4}",
    "stages.rft.validation={eval_interval: 16, temperature: 0.0}",
    "grading={timeout_s: 1.0, max_error_rate: 0.25}",
)
RATES: dict[str, dict[str, float]] = {
    "sound": {},
    "random": {"raises": 0.105, "hangs": 0.003, "hang_s": 1.5},
    "by length": {"raises_per_character": 0.0115},
    "half": {"raises": 0.5},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 1")
    options = parser.parse_args()
    began_s = time.monotonic()
    runs: dict[str, list[Trained]] = {"sound": [], "random": [], "by length": []}
    print("| seed | warm start | sound | random | failed | by length | failed |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(1, options.seeds + 1):
            sound, chance, length = (trained(folder, way, seed) for way in runs)
            for way, run in zip(runs, (sound, chance, length), strict=True):
                runs[way].append(run)
            flaky = " | ".join(f"{run.final:.3f} | {run.failed:.1%}" for run in (chance, length))
            print(f"| {seed} | {sound.before:.3f} | {sound.final:.3f} | {flaky} |", flush=True)
        print("\n| grader | after RFT − sound | while learning − sound |\n|---|---|---|")
        for way in ("random", "by length"):
            pairs = list(zip(runs[way], runs["sound"], strict=True))
            final, learning = [a.final - b.final for a, b in pairs], [a.learning - b.learning for a, b in pairs]
            print(f"| {way} | {interval(final)} | {interval(learning)} |")
        print("\n" + stopped_and_mended(folder))
    print(f"\n{time.monotonic() - began_s:.0f} s")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What became of a run: accuracies, and the share of its training grades that failed."""

    before: float
    learning: float
    """Of the answers that all steps trained on: less where learning takes longer."""
    final: float
    failed: float


def trained(folder: Path, way: str, seed: int) -> Trained:
    """Run it to its end."""
    run_dir = folder / f"{way.replace(' ', '-')}-{seed}"
    summary = rft.run(RUN_FILE, overrides=overrides(folder, way, seed), name=run_dir.name)
    return Trained(
        before=accuracy(run_dir, "test", 0),
        learning=statistics.mean(accuracy(run_dir, "train", step) for step in range(1, summary["steps"] + 1)),
        final=accuracy(run_dir, "test", summary["steps"]),
        failed=failed_share(run_dir),
    )


def overrides(folder: Path, way: str, seed: int) -> list[str]:
    """The settings of a run, whose grader is put beside its rates."""
    grader = put_grader(folder / f"grader-{way.replace(' ', '-')}", RATES[way])
    component = {"type": "python_file", "path": f"{grader}:grade", "deterministic": False}
    return [*SETTINGS, f"vars.seed={seed}", f"runs_dir={folder}", f"stages.rft.grader={json.dumps(component)}"]


def put_grader(folder: Path, rates: dict[str, float]) -> Path:
    """The grader's file, which fails at these rates; what was there is replaced."""
    folder.mkdir(exist_ok=True)
    (folder / "rates.json").write_text(json.dumps(rates))
    return Path(shutil.copy(HERE / "grader.py", folder))


def accuracy(run_dir: Path, split: str, step: int) -> float:
    """Share of right answers among the stored ones, whether or not the run's grader graded them."""
    file = RunDir(run_dir).rollout_file(split, step)
    right = [
        rollout.text.endswith(f"#{graded.group.item.row['answer']}")
        for graded in store.from_table(store.read_table(file))
        for rollout in graded.group.rollouts
    ]
    return sum(right) / len(right)


def failed_share(run_dir: Path) -> float:
    """Share of the training grades that the run left out because the grader failed."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    failed = sum(line.get("outcome/grader_error", 0) + line.get("outcome/timed_out", 0) for line in lines)
    return float(failed / sum(line["rollouts"] for line in lines))


def interval(differences: list[float]) -> str:
    """Mean and 95 % interval over seeds, by Student's t for so few."""
    t = {5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}.get(len(differences))
    mean = statistics.mean(differences)
    if t is None:
        return f"{mean:+.3f}, no interval for {len(differences)} seeds"
    half = t * statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def stopped_and_mended(folder: Path) -> str:
    """A grader that fails for half of the answers stops its run; mended, the run goes on to its end."""
    run_dir = folder / "half-1"
    try:
        rft.run(RUN_FILE, overrides=overrides(folder, "half", 1), name=run_dir.name)
    except TooManyErrorsError as error:
        said = str(error)
    else:
        raise SystemExit("half of the grades failed, and the run did not stop")
    kept = [path.name for path in sorted((run_dir / "checkpoints").glob("step-*"))]
    put_grader(folder / "grader-half", RATES["sound"])
    step = rft.resume(run_dir)["steps"]
    ours, sound = (accuracy(folder / name, "test", step) for name in ("half-1", "sound-1"))
    return (
        f"half: stopped with {', '.join(kept)} and “{said.replace(str(folder), '…')}”\n"
        f"mended and resumed to step {step}: {ours:.3f}, the sound run {sound:.3f}"
    )


if __name__ == "__main__":
    main()
