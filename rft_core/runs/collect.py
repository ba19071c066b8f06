"""Turns a step's draws into graded groups: sample the units, grade each as it arrives, store them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from rft_core import failpoints
from rft_core.clock import StepClock
from rft_core.errors import IntegrityError, StorageError
from rft_core.pools.pool import Pool
from rft_core.runs.paid_grades import Asked, PaidGrades
from rft_core.runs.planning import Draw, groups_of, items_of, rollouts_digest, rows_named, sample_units
from rft_core.runs.resample import collect_resampling
from rft_core.runs.run import Run
from rft_core.runs.step_metrics import failed_grades, failures_by_grader, tokens_of
from rft_core.seeds import Purpose
from rft_core.storage import store
from rft_core.storage.journal import Record
from rft_core.types import Grade, GradedGroup, GradeUnit, Group, Item, SamplingParams, WeightRef

STOP_POLL_S = 0.25
GIVE_UP_S = 5.0


def collect_step(run: Run, step: int, clock: StepClock) -> tuple[GradedGroup, ...]:
    """The graded groups of a training step: from the store if they were stored, else sampled now."""
    if (stored := stored_groups(run, "rollouts", step, "train")) is not None:
        return stored
    run.phase("publishing")
    policy = run.current_policy(clock)
    training = run.config.training

    def drawn(draws: Sequence[Draw]) -> tuple[GradedGroup, ...]:
        drawing = Drawing(
            draws=draws,
            items=items_of(draws, run.sources.train),
            purpose="train",
            policy=policy,
            sampling=run.config.sampling,
            samples=training.group_size,
            unit_size=training.prompts_per_unit,
        )
        return draw_for_run(run, drawing, clock)

    found = collect_resampling(
        run.draws(step), drawn, attempts=training.resample, rows=len(run.sources.train), seed=run.config.seed
    )
    data: dict[str, Any] = {"policy": policy.number, "policy_digest": policy.digest}
    if training.resample:
        data["replaced"] = [[place, draw.index, draw.attempt] for place, draw in found.replaced]
    # Stored while the optimizer computes; the loop waits for it before the step counts.
    run.store_in_background(record_groups, run, "rollouts", step, "train", found.groups, data, found.discarded)
    return found.groups


def stored_groups(run: Run, kind: str, step: int, split: str) -> tuple[GradedGroup, ...] | None:
    """What an earlier process stored; None if it did not, or if the file did not survive a power cut."""
    record = run.journal.last(kind, step)
    if record is None or "content_sha256" not in record.data:
        return None
    path = run.run_dir.rollout_file(split, step)
    try:
        return tuple(store.read(path, record.data["content_sha256"]))
    except (StorageError, IntegrityError) as error:
        run.run_dir.log_event("rollouts_lost", step=step, split=split, error=str(error))
        return None


def record_groups(
    run: Run,
    kind: str,
    step: int,
    split: str,
    groups: Sequence[GradedGroup],
    data: dict[str, Any],
    discarded: Sequence[GradedGroup] = (),
) -> None:
    """Store groups and journal their digest; those that were sampled in vain are counted alone. Sampling them again must have given the same bits, unless
    a component says that it does not repeat itself: then what is stored now is what counts."""
    sampled = (*groups, *discarded)
    digest = store.content_digest(groups)
    path = run.run_dir.rollout_file(split, step)
    failpoints.hit("collect.before_store" if split == "train" else "evaluation.before_store")
    store.write(path, store.to_table(step, groups))
    earlier = run.journal.last(kind, step)
    if earlier is not None and earlier.data["content_sha256"] == digest:
        return
    if earlier is not None:
        # A grade that failed, such as by a time-out, need not fail again.
        if run.resamples_bitwise and not failed_grades(groups) and not earlier.aside.get("failed_grades"):
            raise IntegrityError(
                f"sampling step {step} ({split}) again gave other rollouts than the journal recorded: the software, "
                "the number of threads or the processor changed; go on where the run began, or start a new one"
            )
        run.run_dir.log_event("rollouts_replaced", step=step, split=split)
    failpoints.hit("rollouts.before_journal" if split == "train" else "evaluation.before_journal")
    run.journal.append(
        Record(
            kind=kind,
            step=step,
            data={**data, "content_sha256": digest},
            aside={
                "file": path.name,
                "sampled_tokens": tokens_of(sampled),
                "grades": sum(len(graded.grades) for graded in sampled),
                "failed_grades": failed_grades(sampled),
                "failures": failures_by_grader(sampled),
            },
        )
    )
    failpoints.hit("rollouts.after_journal" if split == "train" else "evaluation.after_journal")


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who samples and grades, for whom, and who is told."""

    samplers: Pool
    graders: Pool
    run_id: str
    seed: int
    grade_timeout_s: float
    grader_count: int = 1
    """Grader workers, which share the groups of a unit."""
    paid: PaidGrades | None = None
    """Answers what was graded before; None asks for everything."""
    phase: Callable[[str], None] = lambda waits_for: None
    """Told what is waited for."""
    check_stop: Callable[[], None] = lambda: None
    """Asked now and then; raises StopRequested to give up."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What to sample: which rows, how often, under which policy, in units of how many prompts."""

    draws: Sequence[Draw]
    items: Sequence[Item]
    purpose: Purpose
    policy: WeightRef
    sampling: SamplingParams
    samples: int
    unit_size: int


def draw_for_run(run: Run, drawing: Drawing, clock: StepClock) -> tuple[GradedGroup, ...]:
    """`sample_and_grade` with the workers of a run. A signal stops it at once; budgets stop training alone."""
    assert run.samplers is not None
    assert run.graders is not None
    crew = Crew(
        samplers=run.samplers,
        graders=run.graders,
        run_id=run.run_id,
        seed=run.config.seed,
        grade_timeout_s=run.config.grading.timeout_s,
        grader_count=run.config.grading.worker.size,
        paid=run.paid_grades,
        phase=run.phase,
        check_stop=run.check_stop if drawing.purpose == "train" else run.check_signal,
    )
    return sample_and_grade(crew, drawing, clock)


def sample_and_grade(crew: Crew, drawing: Drawing, clock: StepClock) -> tuple[GradedGroup, ...]:
    """Sample every unit and grade each as soon as it arrives. The order of the answer is that of the
    draws, whoever finished first."""
    items, unit_size = drawing.items, drawing.unit_size
    units = sample_units(
        drawing.draws,
        items,
        purpose=drawing.purpose,
        samples=drawing.samples,
        unit_size=unit_size,
        run_id=crew.run_id,
        seed=crew.seed,
        policy=drawing.policy,
        sampling=drawing.sampling,
    )
    crew.phase("sampling")
    pending: dict[Future[Any], int | _Grading] = {
        crew.samplers.submit(unit): number for number, unit in enumerate(units)
    }
    graded: dict[int, GradedGroup] = {}
    """By the position of the draw."""
    try:
        while pending:
            done, _ = wait(pending, timeout=STOP_POLL_S, return_when=FIRST_COMPLETED)
            crew.check_stop()
            for future in done:
                work = pending.pop(future)
                with rows_named(drawing.draws, items):
                    answer = future.result()
                clock.add(answer.busy)
                if isinstance(work, _Grading):
                    failpoints.hit("collect.unit_graded")
                    graded.update(work.graded(crew, answer.grades))
                else:
                    failpoints.hit("collect.unit_sampled")
                    start = work * unit_size
                    groups = groups_of(units[work], items[start : start + unit_size], answer.groups)
                    for part in _parts(crew, drawing, groups, start):
                        if part.asked:
                            pending[crew.graders.submit(part.unit(crew))] = part
                        else:
                            graded.update(part.graded(crew, ()))
                    if all(isinstance(left, _Grading) for left in pending.values()):
                        crew.phase("grading")
    finally:
        _give_up(crew, pending)
    return tuple(graded[position] for position in range(len(drawing.draws)))


def _give_up(crew: Crew, pending: Mapping[Future[Any], int | _Grading]) -> None:
    """Cancel what has not begun. Grades that are being paid for are awaited for a moment, and kept."""
    running = {future: work for future, work in pending.items() if not future.cancel()}
    if crew.paid is None:
        return
    done, _ = wait([f for f, work in running.items() if isinstance(work, _Grading)], timeout=GIVE_UP_S)
    for future in done:
        work = running[future]
        if isinstance(work, _Grading) and future.exception() is None:
            work.graded(crew, future.result().grades)


@dataclass(frozen=True, kw_only=True)
class _Grading:
    """Some groups on their way through a grader."""

    address: str
    """Names the visit: a grader that is not deterministic is asked anew in another step."""
    start: int
    """Position of the first one's draw."""
    groups: tuple[Group, ...]
    asked: tuple[Group, ...]
    """What the grader is asked about: all of it, or what the ledger does not know."""
    ledger: Asked | None

    def unit(self, crew: Crew) -> GradeUnit:
        return GradeUnit(
            request_id=f"grade-{self.address}-{rollouts_digest(self.asked)}",
            run_id=crew.run_id,
            groups=self.asked,
            timeout_s=crew.grade_timeout_s,
        )

    def graded(self, crew: Crew, grades: Sequence[tuple[Grade, ...]]) -> dict[int, GradedGroup]:
        if self.ledger is not None and crew.paid is not None:
            grades = crew.paid.answer(self.ledger, grades)
        return {
            self.start + n: GradedGroup(group=group, grades=tuple(of_group))
            for n, (group, of_group) in enumerate(zip(self.groups, grades, strict=True))
        }


def _parts(crew: Crew, drawing: Drawing, groups: tuple[Group, ...], start: int) -> Iterator[_Grading]:
    """The groups of a unit in as many parts as there are graders, so that each has something to do."""
    size = max(1, -(-len(groups) // crew.grader_count))
    address = f"{drawing.purpose}-{drawing.policy.lineage}-{drawing.policy.number}"
    for offset in range(0, len(groups), size):
        part = groups[offset : offset + size]
        ledger = crew.paid.ask(part, drawing.purpose, drawing.policy) if crew.paid is not None else None
        asked = part if ledger is None else ledger.rest
        yield _Grading(address=address, start=start + offset, groups=part, asked=asked, ledger=ledger)
