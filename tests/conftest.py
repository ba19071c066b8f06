"""Options of the test-suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=50, help="Random kills in the chaos tests (make chaos: 1000).")
    parser.addoption("--model-kills", type=int, default=6, help="The same with a real model (make chaos: 50).")
    parser.addoption("--chaos-seed", type=int, default=None, help="Replays the instants of a failing chaos run.")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the tests file by file, but for the long ones that kill runs: each of those by itself."""
    for item in items:
        if "chaos" not in item.path.parts:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Models and warm starts made by tests never meet the user's cache."""
    import os

    os.environ["RFT_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
