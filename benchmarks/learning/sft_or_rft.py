"""Labels or rewards? Supervised and reinforcement fine-tuning from the same labelled rows, model and compute.

    python benchmarks/learning/sft_or_rft.py --seeds 5 --plot docs/images/sft_or_rft.svg
    python benchmarks/learning/sft_or_rft.py --rates        how the learning rates were chosen

The model adds two numbers; its warm start has seen answers that are worked out and answers that are not, and mostly
guesses. Labelled are N problems whose numbers are below 55. Three ways to use them:

    answers    supervised on the right answers, which is what a label is: "#95"
    worked     supervised on the right answers with their working, which somebody had to write: "7+8=15;3+5+1=9#95"
    rft        GRPO, graded by the right answer; the working is the model's own

`held-out` are other problems with numbers below 55, `shifted` problems with numbers from 55 on, which no row comes
near. Of each run the checkpoint with the best validation counts (held-out problems of neither test), so that none is
blamed for going on too long. The supervised runs take about as many processor seconds as an RFT run (`answers`), or about
half as many again (`worked`); the table has what each took. Learning rates are the best of three for each way, by the held-out test of N = 256 and
a seed that is not in the table. The plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs import interval, train, warm_up

import rft_core.api as rft
from rft_tiny_llama.arithmetic import split_of, worked_solution

ROWS = (16, 64, 256, 1024)
BORDER = 55
SFT_STEPS = 240
OTHER_SEED = 99
WAYS: dict[str, dict[str, Any]] = {
    "answers": {"type": "sft", "target": "#{{item.answer}}"},
    "worked": {"type": "sft", "target": "{{item.worked}}"},
    "rft": {"type": "policy_gradient"},
}
RATES = {"answers": (3e-4, 1e-3, 3e-3), "worked": (3e-4, 1e-3, 3e-3), "rft": (2e-4, 4e-4, 8e-4)}
"""Learning rates that were tried."""
CHOSEN = {"answers": 1e-3, "worked": 3e-4, "rft": 4e-4}


@dataclass(frozen=True, kw_only=True)
class Result:
    held_out: float
    shifted: float
    held_out_before: float
    shifted_before: float
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 1")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--rates", action="store_true", help="compare learning rates instead")
    parser.add_argument("--plot", type=Path, help="an SVG file to draw the table into")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.jobs) as pool:
        if options.rates:
            choose_rates(Path(name), pool)
            return
        seeds = range(1, options.seeds + 1)
        list(pool.map(lambda seed: prepare(Path(name), seed), seeds))
        cases = [(way, count, seed) for seed in seeds for count in ROWS for way in WAYS]
        results = pool.map(lambda case: run(Path(name), *case, CHOSEN[case[0]]), cases)
        done = dict(zip(cases, results, strict=True))
    ways, rows = list(WAYS), ROWS
    print_table(ways, rows, seeds, done)
    if options.plot:
        draw_plot(options.plot, ways, rows, seeds, done)


def prepare(folder: Path, seed: int) -> None:
    """The warm start of a seed and its rows."""
    draw = random.Random(seed)
    low, high = range(10, BORDER), range(BORDER, 100)
    near = {
        split: [(a, b) for a in low for b in low if split_of(a, b) == split]
        for split in ("train", "validation", "test")
    }
    far = [(a, b) for a in high for b in high if split_of(a, b) != "train"]
    for name, pairs in (*near.items(), ("shifted", far)):
        draw.shuffle(pairs)
        write(folder / f"{name}-{seed}.jsonl", pairs)
    warm_up(folder, seed)


def write(file: Path, pairs: Sequence[tuple[int, int]]) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"{a}+{b}="}], "answer": str(a + b), "worked": worked_solution(a, b)}
        for a, b in pairs
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def choose_rates(folder: Path, pool: ThreadPoolExecutor) -> None:
    """Every way with every rate."""
    prepare(folder, OTHER_SEED)
    cases = [(way, rate) for way, rates in RATES.items() for rate in rates]
    results = pool.map(lambda case: run(folder, case[0], 256, OTHER_SEED, case[1]), cases)
    print("| way | learning rate | held-out | shifted |\n|---|---|---|---|")
    for (way, rate), result in zip(cases, results, strict=True):
        print(f"| {way} | {rate:g} | {result.held_out:.3f} | {result.shifted:.3f} |", flush=True)


def run(folder: Path, way: str, count: int, seed: int, rate: float) -> Result:
    """One run, and what its best checkpoint does on both tests."""
    name = f"{way}-{count}-{seed}-{rate:g}"
    files = {
        split: {"type": "jsonl", "path": str(folder / f"{split}-{seed}.jsonl")}
        for split in ("train", "validation", "test")
    }
    files["train"]["limit"] = count  # type: ignore[assignment]
    settings: dict[str, Any] = {"data": files, "result": "best"}
    if way == "rft":
        settings["optimizer.learning_rate"] = rate
    else:
        settings["optimizer"] = {**WAYS[way], "learning_rate": rate, "betas": [0.9, 0.99], "threads": 1}
        settings["training"] = {"steps": SFT_STEPS, "batch_size": 64}
        settings["validation.eval_interval"] = SFT_STEPS // 12
    cpu_s = train(folder, name, seed, settings)
    run_dir = folder / name
    test = json.loads((run_dir / "summary.json").read_text())["test"]
    far = rft.evaluate(run_dir, folder / f"shifted-{seed}.jsonl", compare=True)
    return Result(
        held_out=test["after"]["reward_mean"],
        shifted=far["result"]["reward_mean"],
        held_out_before=test["before"]["reward_mean"],
        shifted_before=far["base"]["reward_mean"],
        cpu_s=cpu_s,
    )


def print_table(
    ways: Sequence[str], rows: Sequence[int], seeds: Sequence[int], done: Mapping[tuple[str, int, int], Result]
) -> None:
    first = [done[ways[0], rows[0], seed] for seed in seeds]
    held_out, shifted = interval([r.held_out_before for r in first]), interval([r.shifted_before for r in first])
    print(f"{len(seeds)} seeds. Before: held-out {held_out}, shifted {shifted}.\n")
    print("| labelled rows | way | held-out | shifted | CPU seconds |\n|---|---|---|---|---|")
    for count in rows:
        for way in ways:
            results = [done[way, count, seed] for seed in seeds]
            held_out, shifted = interval([r.held_out for r in results]), interval([r.shifted for r in results])
            print(f"| {count:,} | {way} | {held_out} | {shifted} | {statistics.median(r.cpu_s for r in results):.0f} |")


def draw_plot(
    file: Path,
    ways: Sequence[str],
    rows: Sequence[int],
    seeds: Sequence[int],
    done: Mapping[tuple[str, int, int], Result],
) -> None:
    """Accuracy over labelled rows, with the spread over seeds, for both tests."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rft-engine"  # equal figures, equal file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axis, test in zip(axes, ("held_out", "shifted"), strict=True):
        before = statistics.mean(getattr(done[ways[0], rows[0], seed], f"{test}_before") for seed in seeds)
        axis.axhline(before, color="grey", linestyle=":", label="before")
        for way in ways:
            values = [[getattr(done[way, count, seed], test) for seed in seeds] for count in rows]
            means = [statistics.mean(v) for v in values]
            axis.plot(rows, means, marker="o", label=way)
            axis.fill_between(rows, [min(v) for v in values], [max(v) for v in values], alpha=0.15)
        axis.set(xscale="log", xlabel="labelled rows", title=test.replace("_", "-"), ylim=(0, 1.02), xticks=rows)
        axis.set_xticklabels([f"{count:,}" for count in rows])
        axis.minorticks_off()
    axes[0].set_ylabel("accuracy")
    axes[0].legend()
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
