"""What becomes of training on rollouts that are some policy versions old, with and without a correction.

    python benchmarks/learning/off_policy.py --seeds 5 --rate 2e-4 --steps 48

Step s trains on rollouts of version max(0, s − 1 − lag): the schedule of a pipeline that is `lag` steps deep, run one
after the other, so that it repeats to the bit. Warm start, rows and batches are those of `algorithms.py`. How old a
rollout is depends on the learning rate: at 8e-4 four versions are the whole of what there is to learn. Four ways to use
such rollouts:

    uncorrected   ratios against the trainer's own log-probabilities, nothing for what lies between
    clipped       ratios against the sampler's: what moved too far since sampling is clipped
    truncated     the trainer's, and importance weights up to 2 for what lies between (decoupled PPO)
    masked        the same with weights outside 0.5 … 2 counting 0

Accuracy is greedy and on 512 test rows; `while learning` is the mean accuracy of all answers sampled for training.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs import interval, warm_up

LAG = 4
BATCH, SAMPLES = 32, 16
TRAINER = {"old_logprobs": "trainer"}
WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "on-policy": (0, {}),
    "uncorrected": (LAG, TRAINER),
    "clipped": (LAG, {"old_logprobs": "sampler"}),
    "truncated": (LAG, {**TRAINER, "correction": {"type": "truncated", "max": 2.0}}),
    "masked": (LAG, {**TRAINER, "correction": {"type": "masked", "min": 0.5, "max": 2.0}}),
}
OPTIMIZER = {"type": "policy_gradient", "betas": [0.9, 0.99], "threads": 1}


@dataclass(frozen=True, kw_only=True)
class Result:
    learning: float
    final: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 1")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate")
    parser.add_argument("--steps", type=int, default=48, help="steps")
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(options.jobs) as pool:
            list(pool.map(warm_up, [folder] * len(seeds), seeds))
            cases = [(way, seed) for seed in seeds for way in WAYS]
            ways, order = zip(*cases, strict=True)
            n = len(cases)
            results = pool.map(train_way, [folder] * n, ways, order, [options.rate] * n, [options.steps] * n)
            done = dict(zip(cases, results, strict=True))
    print(
        f"{len(seeds)} seeds, {options.steps} steps, a learning rate of {options.rate:g}.\n\n| rollouts | way | while learning | accuracy | accuracy − on-policy |\n|---|---|---|---|---|"
    )
    for way, (lag, _) in WAYS.items():
        results = [done[way, seed] for seed in seeds]
        apart = [done[way, seed].final - done["on-policy", seed].final for seed in seeds]
        learning, final = interval([r.learning for r in results]), interval([r.final for r in results])
        old = f"{lag} versions old" if lag else "current"
        print(f"| {old} | {way} | {learning} | {final} | {interval(apart, sign=True) if lag else '–'} |")


def train_way(folder: Path, way: str, seed: int, rate: float, steps: int) -> Result:
    """One training, in this process: sample with an old version, grade, update, publish."""
    import torch

    torch.set_num_threads(1)
    from rft_core import BuildContext, ModelRef, TrainBatch
    from rft_core.registry import Registry
    from rft_core.types import SamplingParams

    lag, settings = WAYS[way]
    model = ModelRef(path=folder / f"warm-{seed}" / "stages" / "1-warm-up" / "final")
    context = BuildContext(base_dir=folder, seed=seed, model=model, sampling=SamplingParams(max_tokens=32))
    registry = Registry.discover()
    optimizer = registry.build("optimizer", {**OPTIMIZER, "learning_rate": rate, **settings}, context)
    sampler = registry.build("sampler", {"type": "transformers"}, context)
    source = {"type": "arithmetic", "digits": 2}
    train = registry.build("data_source", {**source, "count": 16000, "split": "train", "seed": seed}, context)
    test = registry.build("data_source", {**source, "count": 512, "split": "test"}, context)
    versions = [publish(optimizer, folder, f"{way}-{seed}", 0)]
    shares = []
    for step in range(1, steps + 1):
        groups = sampled(sampler, versions[max(0, step - 1 - lag)], train, step, seed)
        shares.append(sum(g.reward or 0 for x in groups for g in x.grades) / (BATCH * SAMPLES))
        optimizer.step(TrainBatch(step=step, total_steps=steps, groups=groups))
        versions.append(publish(optimizer, folder, f"{way}-{seed}", step))
    return Result(learning=sum(shares) / len(shares), final=tested(sampler, versions[-1], test, seed))


def publish(optimizer: Any, folder: Path, name: str, version: int) -> Any:
    place = folder / "versions" / name / str(version)
    place.mkdir(parents=True)
    return optimizer.publish(place, run_id=name, lineage="main")


def sampled(sampler: Any, version: Any, source: Any, step: int, seed: int) -> tuple[Any, ...]:
    """The graded groups of a step."""
    from rft_core.runs.planning import draws_of_step
    from rft_core.types import SamplingParams

    draws = draws_of_step(step, BATCH, len(source), seed)
    return graded(sampler, version, source, draws, "train", SAMPLES, seed, SamplingParams(max_tokens=32))


def tested(sampler: Any, version: Any, source: Any, seed: int) -> float:
    """Share of right answers, greedy."""
    from rft_core.runs.planning import draws_of_split
    from rft_core.types import SamplingParams

    greedy = SamplingParams(temperature=0.0, max_tokens=32)
    groups = graded(sampler, version, source, draws_of_split(len(source)), "test", 1, seed, greedy)
    return sum(group.grades[0].reward or 0 for group in groups) / len(groups)


def graded(
    sampler: Any, version: Any, source: Any, draws: Any, purpose: Any, samples: int, seed: int, sampling: Any
) -> tuple[Any, ...]:
    """Completions of the draws, right where they end in the answer."""
    from rft_core import Grade, GradedGroup
    from rft_core.runs.planning import groups_of, items_of, sample_units

    sampler.load_policy(version)
    items = items_of(draws, source)
    (unit,) = sample_units(
        draws,
        items,
        purpose=purpose,
        samples=samples,
        unit_size=len(draws),
        run_id=version.run_id,
        seed=seed,
        policy=version,
        sampling=sampling,
    )
    return tuple(
        GradedGroup(
            group=group,
            grades=tuple(Grade.score(float(r.text.endswith(f"#{group.item.row['answer']}"))) for r in group.rollouts),
        )
        for group in groups_of(unit, items, sampler.sample(unit).groups)
    )


if __name__ == "__main__":
    main()
