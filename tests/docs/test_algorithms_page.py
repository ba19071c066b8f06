"""The part that docs/algorithms.md writes: installed with pip, named in a run file, and run; and its tables."""

import re
from pathlib import Path

import pytest
from doc_pages import DOCS, block, pip_install

from rft_core.registry import Registry
from rft_test_plugin.harness import engine, summary, tiny_run

PAGE = DOCS / "algorithms.md"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment that sees `rft-ranks`."""
    package = tmp_path_factory.mktemp("ranks")
    for name in ("rft_ranks.py", "pyproject.toml"):
        (package / name).write_text(block(PAGE, name))
    return pip_install(package, tmp_path_factory.mktemp("ranks-site"))


def test_a_preset_of_another_package_trains(env: dict[str, str], tmp_path: Path) -> None:
    """It is listed, its settings are shown, and a run names it."""
    assert "preset/rank_grpo" in engine("plugins", "--json", env=env).output
    assert "spread" in engine("plugins", "show", "advantage/ranks", env=env).output
    run_file = tiny_run(
        tmp_path,
        optimizer={"type": "policy_gradient", "algorithm": "rank_grpo"},
        training={"steps": 2, "batch_size": 4},
    )
    outcome = engine("run", run_file, "--set", f"runs_dir={tmp_path}", "--name", "ranks", env=env)
    assert outcome.code == 0, outcome.errors
    assert summary(tmp_path / "ranks")["steps"] == 2


def test_the_yaml_of_the_page_is_accepted() -> None:
    """Every key of the first example exists, and its parts do."""
    import yaml

    raw = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1])  # type: ignore[index]
    _, config = Registry.discover().configure("optimizer", raw["optimizer"], where="optimizer")
    assert config.objective == {"type": "clip", "low": 0.2, "high": 0.3}  # type: ignore[attr-defined]


def test_the_tables_name_every_algorithm() -> None:
    """What was measured, was measured of all presets; the comparison with TRL of all that it has."""
    text = PAGE.read_text()
    names = {n.removeprefix("preset/") for n in Registry.discover().names("optimizer_part") if n.startswith("preset/")}
    compared = text[text.index("| case | loss, TRL") :]
    missing = {n for n in names if f"| {n} |" not in compared}
    assert missing == {
        "best_of_n",
        "distillation",
        "maxrl",
        "ppo",
        "reinforce",
        "reinforce_pp",
        "reinforce_pp_baseline",
    }
