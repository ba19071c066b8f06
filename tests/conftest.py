"""Options of the test-suite."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""`make test` runs three processes on two cores: more threads in each would only wait for one another. Set before a
test imports torch."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=50, help="Random kills in the chaos tests (make chaos: 1000).")
    parser.addoption("--model-kills", type=int, default=6, help="The same with a real model (make chaos: 50).")
    parser.addoption("--chaos-seed", type=int, default=None, help="Replays the instants of a failing chaos run.")


LONG_FIRST = ("chaos", "integration", "wire", "docs")
"""Folders whose files take longest; `make test` shares them out file by file, and the short ones fill what is left."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return LONG_FIRST.index(item.path.parent.name) if item.path.parent.name in LONG_FIRST else len(LONG_FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Models and warm starts made by tests never meet the user's cache."""
    os.environ["RFT_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
