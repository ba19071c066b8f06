"""What an evaluation says: per-row means, rows without a grade, clusters, paired gains."""

from rft_core.runs.evaluation import compare, line_of, report_of, summarise
from rft_core.types import Grade, GradedGroup, Group, Item, Rollout, Segment


def graded(row: int, grades: list[Grade], publication: str = "p", reason: str = "stop") -> GradedGroup:
    rollouts = tuple(
        Rollout(
            ordinal=row,
            sample=s,
            seed=s,
            segments=(
                Segment(role="prompt", token_ids=(1,)),
                Segment(role="assistant", token_ids=(2, 3), logprobs=(-1.0, -1.0), trained=True, policy=0),
            ),
            text="x",
            finish_reason="length" if reason == "length" else "stop",
        )
        for s in range(len(grades))
    )
    item = Item(key=str(row), index=row, row={"messages": [], "pmid": publication})
    return GradedGroup(group=Group(ordinal=row, item=item, rollouts=rollouts), grades=tuple(grades))


def test_rows_are_means_and_errors_leave_them() -> None:
    """A row's reward is the mean of its graded completions; failed grades are counted, never zeros."""
    evaluation = summarise(
        [
            graded(0, [Grade.score(1.0), Grade.score(0.0)]),
            graded(1, [Grade.score(0.8), Grade.error("other_error", "broke")], reason="length"),
            graded(2, [Grade.timed_out("slow"), Grade.abstained()]),
        ],
        step=3,
        split="validation",
    )
    assert evaluation.rewards == {0: 0.5, 1: 0.8}
    assert evaluation.errors == {"grader_error": 1, "timed_out": 1, "abstained": 1}
    assert evaluation.truncated == 2 / 6
    assert evaluation.completion_tokens == 2.0
    line = line_of(evaluation)
    assert line["reward_mean"] == 0.65
    assert line["errors_timed_out"] == 1


def test_gains_are_paired_and_by_grader() -> None:
    """The gain is over the rows that both have, with a part for each grader inside a multi."""

    def evaluation(shift: float, rows: range) -> object:
        return summarise(
            [
                graded(r, [Grade.score(r / 100 + shift, sub_rewards={"a": shift, "b": 0.5})], publication=str(r % 5))
                for r in rows
            ],
            step=0,
            split="validation",
            cluster_by="pmid",
        )

    before, after = evaluation(0.0, range(20)), evaluation(0.25, range(2, 30))
    gain = compare(before, after, seed=1)  # type: ignore[arg-type]
    assert gain is not None
    assert gain["rows"] == 18
    assert abs(gain["mean"] - 0.25) < 1e-12
    assert gain["improved"] == 18
    assert gain["worsened"] == 0
    assert gain["p_value"] < 0.1  # 5 clusters: at least 2 of 32 sign patterns are as extreme
    assert abs(gain["graders"]["a"]["mean"] - 0.25) < 1e-12
    assert gain["graders"]["b"]["mean"] == 0.0
    assert gain["graders"]["b"]["unchanged"] == 18
    assert set(report_of(after, seed=1)["graders"]) == {"a", "b"}  # type: ignore[arg-type]
    assert compare(before, evaluation(0.0, range(40, 50)), seed=1) is None  # type: ignore[arg-type]


def test_clusters_widen_the_interval() -> None:
    """Rows of one publication are resampled together: forty equal rows of two publications are not forty."""

    def rows(cluster_by: str | None) -> float:
        evaluation = summarise(
            [graded(r, [Grade.score(float(r % 2))], publication=str(r % 2)) for r in range(40)],
            step=0,
            split="validation",
            cluster_by=cluster_by,
        )
        interval = evaluation.interval(seed=0)
        assert interval is not None
        return interval.high - interval.low

    assert rows("pmid") == 1.0
    assert rows(None) < 0.5
