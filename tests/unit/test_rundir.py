"""The run directory on a disk without room."""

import subprocess
import sys
from pathlib import Path

FULL_DISK = """
import resource, sys
from pathlib import Path
from rft_core.errors import StorageError
from rft_core.storage.rundir import RunDir

run_dir = RunDir(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    run_dir.lock()
except StorageError as error:
    assert f"could not write lock in {sys.argv[1]}: File too large; free space" in str(error), error
else:
    raise AssertionError("the lock was written")
run_dir.unlock()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
run_dir.lock()
"""


def test_a_lock_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Where a single file does not fit, too, and the lock is free for who comes when there is room."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
