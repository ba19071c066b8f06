"""The contract kit: what a component must do, as checks that its author can run.

    from rft_core.contract import check_grader

    def test_my_grader_keeps_the_contract():
        check_grader(MyGrader(), groups=[...])

Each check raises AssertionError with a sentence. They run on a component in this process and, through
`rft_core.pools.adapters`, on one in a worker; both must answer the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rft_core.protocols import DataSource, Grader, Optimizer, Sampler
from rft_core.replies import check_sampled, settle_grades
from rft_core.seeds import seed_of
from rft_core.types import GradedGroup, Group, Item, Prompt, SampleUnit, SamplingParams, TrainBatch, WeightRef
from rft_core.weights import digest_of


def check_data_source(build: Callable[[], DataSource]) -> None:
    """Rows by position, the same from every copy and in any order, with names of their own."""
    source, again = build(), build()
    assert len(source) > 0, "the source has no rows"
    assert len(source) == len(again), "two copies have different lengths"
    assert source.fingerprint() == again.fingerprint(), "two copies of the same data have different fingerprints"
    items = [source.item(i) for i in range(len(source))]
    backwards = [again.item(i) for i in reversed(range(len(again)))]
    assert items == backwards[::-1], "a row depends on the order in which rows are read"
    keys = {item.key for item in items}
    assert len(keys) == len(items), "two rows have the same key"
    assert [item.index for item in items] == list(range(len(items))), "item.index is not the position"
    assert all(item.row.get("messages") for item in items), "a row has no messages"


def check_grader(grader: Grader, groups: Sequence[Group], *, deterministic: bool = True) -> None:
    """One typed, finite grade per rollout, in order, that does not depend on what was graded before;
    `deterministic`, what its spec says of it, compares two grades of the same rollout."""
    first = [tuple(grader.grade(group)) for group in groups]
    for group, grades in zip(groups, first, strict=True):
        assert len(grades) == len(group.rollouts), f"{len(grades)} grades for {len(group.rollouts)} rollouts"
        assert settle_grades(grades, len(group.rollouts)) == grades, "a grade is not what the protocol allows"
    if not deterministic:
        return
    again = [tuple(grader.grade(group)) for group in reversed(groups)]
    assert again[::-1] == first, "a grade depends on what was graded before; declare the grader non-deterministic"


def sample_unit(policy: WeightRef, prompts: Sequence[str], *, samples: int = 3, **sampling: object) -> SampleUnit:
    """A unit of user prompts with addressed seeds."""
    return SampleUnit(
        request_id=f"contract-{policy.number}-{len(prompts)}-{samples}-{sorted(sampling.items())}",
        run_id=policy.run_id,
        policy=policy,
        prompts=tuple(
            Prompt(
                ordinal=number,
                messages=({"role": "user", "content": text},),
                seeds=tuple(seed_of(7, "train", number, s, 0, 0) for s in range(samples)),
            )
            for number, text in enumerate(prompts)
        ),
        sampling=SamplingParams.model_validate({"max_tokens": 8, **sampling}),
    )


def check_sampler(sampler: Sampler, policy: WeightRef, prompts: Sequence[str]) -> None:
    """Answers fit their request, depend on the unit alone, and end where they should."""
    sampler.load_policy(policy)
    info = sampler.info()
    assert info.vocab_size > 0, "the sampler does not say how large its vocabulary is"
    unit = sample_unit(policy, prompts)
    reply = sampler.sample(unit)
    check_sampled(unit, reply, vocab_size=info.vocab_size)
    for group in reply.groups:
        for rollout in group:
            assert rollout.completion_tokens <= 8, "a completion is longer than max_tokens"
            assert rollout.segments[0].role == "prompt", "the first segment is not the prompt"
            assert any(segment.trained for segment in rollout.segments), "nothing of a rollout can be trained on"
    if info.bitwise:
        assert sampler.sample(unit).groups == reply.groups, "the same unit gave other rollouts"
        other = sample_unit(policy, prompts[:1], samples=1)
        sampler.sample(other)
        assert sampler.sample(unit).groups == reply.groups, "what is sampled between changes a unit's rollouts"


def check_optimizer(build: Callable[[], Optimizer], batches: Sequence[TrainBatch]) -> None:
    """Steps count versions; save and load continue, to the bit if it declares `bitwise`; published
    weights are the policy's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, half = build(), build()
        reports = [whole.step(batch) for batch in batches]
        assert [r.policy for r in reports] == list(range(1, len(batches) + 1)), "a step is one policy version"
        middle = len(batches) // 2
        for batch in batches[:middle]:
            half.step(batch)
        (folder / "saved").mkdir()
        half.save(folder / "saved")
        assert any((folder / "saved" / "policy").glob("*.safetensors")), "save writes no weights to policy/"
        continued = build()
        continued.load(folder / "saved")
        rest = [continued.step(batch) for batch in batches[middle:]]
        assert [r.policy for r in rest] == [r.policy for r in reports[middle:]], "a loaded optimizer counts otherwise"
        assert rest == reports[middle:] or not whole.bitwise, "a loaded optimizer reports other steps"
        refs = []
        for number, optimizer in enumerate((whole, continued)):
            target = folder / f"published-{number}"
            target.mkdir()
            refs.append(optimizer.publish(target, run_id="contract", lineage="main"))
            assert refs[-1].digest == digest_of(target), "the published digest is not that of the files"
        same = refs[0].digest == refs[1].digest
        assert same or not whole.bitwise, "a loaded optimizer has other weights after the same steps"
        assert refs[0].number == len(batches), "the published version is not the number of steps"


def batches_of_groups(groups: Sequence[GradedGroup], steps: int) -> list[TrainBatch]:
    """The same graded groups as several steps."""
    return [TrainBatch(step=s, total_steps=steps, groups=tuple(groups)) for s in range(1, steps + 1)]


def batches_of_items(items: Sequence[Item], steps: int) -> list[TrainBatch]:
    """The same labelled rows as several steps."""
    return [TrainBatch(step=s, total_steps=steps, items=tuple(items)) for s in range(1, steps + 1)]
