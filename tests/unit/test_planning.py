"""Which rows a step draws, with which seeds: a pure function, without collisions."""

from dataclasses import replace

import pytest

from rft_core.clock import StepClock
from rft_core.errors import DataError
from rft_core.runs.planning import draws_of_step, rollouts_digest, rows_named, sample_units
from rft_core.seeds import epoch_order, seed_of
from rft_core.types import Busy, Group, Item, Rollout, SamplingParams, Segment, WeightRef

POLICY = WeightRef(run_id="r", lineage="main", number=3, digest="sha256:x", kind="full", path="/nowhere")


def test_each_epoch_visits_every_row_once() -> None:
    """Batches that do not divide the rows run on into the next epoch, and no row is skipped or doubled."""
    rows, batch = 7, 3
    indices = [d.index for step in range(1, 8) for d in draws_of_step(step, batch, rows, seed=5)]
    for epoch in range(3):
        assert sorted(indices[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    assert indices[:7] != indices[7:14], "epochs have orders of their own"
    assert (epoch_order(5, 0, 50) != epoch_order(6, 0, 50)).any()


def test_every_draw_has_its_own_seed() -> None:
    """No two rollouts of a run share a seed, in any epoch, split, sample or attempt."""
    seeds = {
        seed_of(run_seed, purpose, ordinal, sample, attempt)
        for run_seed in (0, 1)
        for purpose in ("train", "validation")
        for ordinal in range(50)
        for sample in range(8)
        for attempt in range(2)
    }
    assert len(seeds) == 2 * 2 * 50 * 8 * 2
    assert all(0 <= s < 2**63 for s in seeds)


def test_a_prompt_is_named_as_its_row() -> None:
    """A sampler knows the ordinal alone; what is said of no prompt, or of one of another step, passes as it is."""
    draws = draws_of_step(2, 2, 10, seed=0)
    items = [Item(key=f"rows.jsonl:{d.index}", index=d.index, row={}) for d in draws]
    for ordinal, said in (
        (3, f"{items[1].key}: it is long; cut it"),
        (0, "it is long; cut it"),
        (None, "it is long; cut it"),
    ):
        with pytest.raises(DataError) as caught, rows_named(draws, items):
            raise DataError("it is long", hint="cut it", ordinal=ordinal)
        assert str(caught.value) == said


def test_units_depend_on_the_plan_alone() -> None:
    """The same draws give the same request ids; another policy, temperature or batch gives others."""
    draws = draws_of_step(1, 4, 10, seed=0)
    items = [Item(key=str(d.index), index=d.index, row={"messages": [{"role": "user", "content": "x"}]}) for d in draws]

    def ids(policy: WeightRef = POLICY, temperature: float = 1.0, samples: int = 2) -> list[str]:
        units = sample_units(
            draws,
            items,
            purpose="train",
            samples=samples,
            unit_size=3,
            run_id="r",
            seed=0,
            policy=policy,
            sampling=SamplingParams(temperature=temperature),
        )
        assert [len(u.prompts) for u in units] == [3, 1]
        return [u.request_id for u in units]

    other = WeightRef(run_id="r", lineage="main", number=4, digest="sha256:y", kind="full", path="/nowhere")
    fork = replace(POLICY, lineage="second")
    assert ids() == ids()
    found = [*ids(), *ids(other), *ids(fork), *ids(temperature=0.5), *ids(samples=3)]
    items = [replace(item, row={"messages": [{"role": "user", "content": "y"}]}) for item in items]
    found += ids()
    assert len(set(found)) == len(found) == 12


def test_grades_are_asked_for_by_what_was_sampled() -> None:
    """A sampler that does not repeat itself draws other tokens for the same unit: a kept grade is not theirs."""

    def group(*ids: int, text: str = "a", key: str = "k") -> Group:
        segment = Segment(role="assistant", token_ids=ids, logprobs=(-1.0,) * len(ids), trained=True, policy=0)
        rollout = Rollout(ordinal=0, sample=0, seed=1, segments=(segment,), text=text, finish_reason="stop")
        return Group(ordinal=0, item=Item(key=key, index=0, row={}), rollouts=(rollout,))

    groups = [group(1, 2), group(1, 3), group(1, 2, text="b"), group(1, 2, key="l")]
    assert len({rollouts_digest([g]) for g in groups}) == 4
    assert rollouts_digest([group(1, 2)]) == rollouts_digest(groups[:1])


def test_engine_share_counts_waits_as_the_engines() -> None:
    """Overlapping work counts once; whatever no component fills is the engine's own time."""
    clock = StepClock()
    start = clock.start_s
    clock.end_s = start + 10.0
    clock.add(
        [
            Busy(kind="sample", start_s=start + 1, end_s=start + 5),
            Busy(kind="grade", start_s=start + 4, end_s=start + 6),
            Busy(kind="train", start_s=start + 8, end_s=start + 99),
            Busy(kind="sample", start_s=start - 5, end_s=start - 1),
        ]
    )
    assert clock.component_s() == 7.0
    assert clock.component_s("sample") == 4.0
    assert abs(clock.engine_share - 0.3) < 1e-12
