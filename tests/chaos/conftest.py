"""The unbroken run that a killed one is compared with."""

from typing import Any

import pytest
from endings import run_unbroken

from rft_test_plugin.harness import fast_run


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fast run ends with when nobody touches it."""
    return run_unbroken(tmp_path_factory.mktemp("unbroken"), fast_run)
