"""Die at every named point of the code: the resumed run ends with the bits of the unbroken one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from endings import AT_ONCE, same

from rft_core import failpoints
from rft_test_plugin.harness import ONE_THREAD, engine, fast_run


@pytest.mark.chaos
def test_every_failpoint(tmp_path: Path, unbroken: dict[str, Any]) -> None:
    """The process dies at each named point in turn; each point is reached, and each run ends with the bits of one
    that had worker processes and was left alone."""

    def one(name: str) -> None:
        folder = tmp_path / name
        run_file = fast_run(folder, processes=())
        run_dir = folder / "runs" / "fast"
        first = ["run", run_file, "--name", "fast"]
        if name.startswith("recover.") and name != "recover.opened":
            died = engine(*first, env={**ONE_THREAD, "RFT_FAILPOINT": "update.before_fsync@7"})
            assert died.code == -9
            first = ["resume", run_dir]
        died = engine(*first, env={**ONE_THREAD, "RFT_FAILPOINT": name})
        assert died.code == -9, f"the failpoint {name} was not reached: {died.errors}"
        outcome = engine("resume", run_dir, env=ONE_THREAD)
        assert outcome.code == 0, f"after a crash at {name}: {outcome.errors}"
        same(run_dir, unbroken)

    with ThreadPoolExecutor(AT_ONCE) as executor:
        list(executor.map(one, failpoints.NAMES))
    assert len(failpoints.NAMES) >= 30
