"""However many workers share the load: the same bits."""

from pathlib import Path
from typing import Any

import pytest
from endings import same

from rft_test_plugin.harness import engine, fast_run


@pytest.mark.chaos
@pytest.mark.parametrize(("samplers", "graders"), [(1, 1), (4, 1), (1, 4), (4, 4)])
def test_the_number_of_workers_changes_nothing(
    tmp_path: Path, unbroken: dict[str, Any], samplers: int, graders: int
) -> None:
    """1, 2 or 4 samplers and 1 or 4 graders, with answers in whatever order they come: the same bits."""
    run_file = fast_run(
        tmp_path,
        sampler={"type": "scripted", "shuffle_s": 0.1, "worker": {"count": samplers, "threads": 1}},
        grading={"worker": {"count": graders}},
    )
    outcome = engine("run", run_file, "--name", "fast")
    assert outcome.code == 0, outcome.errors
    same(tmp_path / "runs" / "fast", unbroken)
