"""What a run says when its grader failed too often."""

import json
import threading
from pathlib import Path

import pytest
from tiny_models import REGISTRY, Rows

from rft_core.config.run_file import RunConfig
from rft_core.runs.failed_grades import _go_on
from rft_core.runs.hosted import Sources
from rft_core.runs.run import Run
from rft_core.storage.journal import Journal
from rft_core.storage.rundir import RunDir
from rft_core.types import ModelRef


@pytest.mark.parametrize(
    ("place", "config", "done", "said"),
    [
        ("stages/a b", {"run_file": {}}, 2, "'rft-engine resume '{}/stages/a b''"),
        ("r/stages/1-warm", {"run_file": {"stages": []}, "stage": "warm"}, 2, "'rft-engine resume {}/r'"),
        ("r", {"run_file": {"stages": []}}, 3, "let the run take more steps: 'rft-engine resume {}/r --set stages.warm.training.steps=6'"),
    ],
)  # fmt: skip
def test_the_run_that_is_to_be_resumed(
    tmp_path: Path, place: str, config: dict[str, object], done: int, said: str
) -> None:
    """Is the whole one, whatever its folders are called."""
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    raw = {"model": {}, "data": {"train": {}}, "optimizer": {"type": "sft"}, "training": {"steps": 3}}
    run = Run(
        run_id="r",
        lineage="warm",
        config=RunConfig.model_validate(raw),
        base_dir=tmp_path,
        run_dir=RunDir(folder),
        registry=REGISTRY,
        sources=Sources(train=Rows()),
        model=ModelRef(path=tmp_path),
        journal=Journal(folder / "journal"),
        stop=threading.Event(),
    )
    assert _go_on(run, done) == said.format(tmp_path)
