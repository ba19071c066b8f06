"""The key of a cached stage: equal for equal stages, another for anything that decides the stage's bits."""

import json
from pathlib import Path
from typing import Any

from tiny_models import make_model

from rft_core.config.run_file import parse_run
from rft_core.registry import Registry
from rft_core.runs import stage_cache
from rft_core.runs.assembly import open_sources, resolve_model

REGISTRY = Registry.discover()


def key(folder: Path, **changes: Any) -> str:
    values = {
        "model": {"type": "pretrained", "path": "model"},
        "data": {"train": {"type": "jsonl", "path": "train.jsonl"}},
        "sampler": {"type": "transformers"},
        "grader": {
            "type": "multi",
            "graders": {"mine": {"type": "python_file", "path": "grader.py:grade"}},
            "calculate_output": "mine",
        },
        "optimizer": {"type": "policy_gradient"},
        "training": {"steps": 2, "batch_size": 1, "group_size": 2},
        **changes,
    }
    _, config = parse_run(values, base_dir=folder).stages[-1]
    model = resolve_model(REGISTRY, config, folder)
    return stage_cache.key_of(config, open_sources(REGISTRY, config, folder), model, REGISTRY, folder)


def test_the_key_covers_what_decides_the_bits(tmp_path: Path) -> None:
    """Settings, data, weights, the chat template, a teacher, and the code of a grader inside another one."""
    make_model(tmp_path / "model")
    row = {"messages": [{"role": "user", "content": "1"}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "grader.py").write_text("def grade(sample, item): return 1.0\n")
    keys = [key(tmp_path)]
    assert key(tmp_path, name="another", observers=[{"type": "tensorboard"}]) == keys[0]
    keys.append(key(tmp_path, seed=7))
    keys.append(key(tmp_path, sampler={"type": "transformers", "max_batch": 3}))
    (tmp_path / "grader.py").write_text("def grade(sample, item): return 0.0\n")
    keys.append(key(tmp_path))
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    keys.append(key(tmp_path))
    make_model(tmp_path / "model", seed=1)
    keys.append(key(tmp_path))
    (tmp_path / "train.jsonl").write_text(json.dumps({**row, "answer": 1}) + "\n")
    keys.append(key(tmp_path))
    teacher = {"type": "policy_gradient", "kl": {"weight": 0.1, "reference": "teacher"}}
    for seed in (2, 3):
        make_model(tmp_path / "teacher", seed=seed)
        keys.append(key(tmp_path, optimizer=teacher))
    settings = json.loads((tmp_path / "teacher" / "config.json").read_text())
    (tmp_path / "teacher" / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 0.1}))
    keys.append(key(tmp_path, optimizer=teacher))
    assert len(set(keys)) == len(keys)
