"""What a component answers is brought to one form before the engine uses it."""

import pytest

from rft_core.replies import settle_grades
from rft_core.types import Grade, Outcome


@pytest.mark.parametrize(
    ("grade", "said"),
    [
        (Grade.score(1e308), "a reward must be a number of at most 1e+09 in size"),
        (Grade.score(-1e10), "a reward must be"),
        (Grade.score(1.0, metrics={"m": 1e308}), "'m' must be a number of at most 1e+100"),
        (Grade.score(1.0, sub_rewards={"s": -1e300}), "'s' must be"),
    ],
)
def test_numbers_whose_sums_would_be_infinite_are_no_grades(grade: Grade, said: str) -> None:
    """One such reward would end the run when its mean is taken; the other grades of the group stay."""
    fine = Grade.score(1e9)
    first, second = settle_grades([grade, fine], 2)
    assert (first.outcome, first.error_kind) == (Outcome.GRADER_ERROR, "other_error")
    assert said in (first.message or "")
    assert second is fine
