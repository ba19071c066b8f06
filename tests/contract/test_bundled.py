"""Every bundled component keeps the contract that third parties are given, here and in a worker process."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rft_core import BuildContext, Group, Item, ModelRef, WeightRef, contract
from rft_core.config.workers import WorkerConfig
from rft_core.pools.adapters import PooledGrader, PooledSampler
from rft_core.pools.pool import open_pool
from rft_core.registry import Registry
from rft_core.types import Grade, GradedGroup, SamplingParams
from rft_core.weights import FULL_FILE, digest_of
from rft_test_plugin.make import rollout

REGISTRY = Registry.discover()
MODEL = {
    "type": "tiny_llama",
    "hidden_size": 32,
    "layers": 2,
    "heads": 2,
    "max_context": 64,
    "tokenizer": {"type": "characters", "alphabet": "0123456789+=;#"},
}
STRING = {
    "type": "string_check",
    "name": "s",
    "input": "{{sample.output_text}}",
    "reference": "{{item.name}}",
    "operation": "ne",
}
SIMILAR = {
    "type": "text_similarity",
    "name": "t",
    "input": "{{sample.output_text}}",
    "reference": "{{item.name}}",
    "evaluation_metric": "fuzzy_match",
}
GRADERS: list[dict[str, Any]] = [
    STRING,
    SIMILAR,
    {**SIMILAR, "evaluation_metric": "meteor"},
    {"type": "regex", "name": "r", "pattern": r"(\d)$", "group": 1, "reference": "{{item.answer}}"},
    {"type": "json_schema", "name": "j", "schema": {"type": "integer"}},
    {"type": "xml_format", "name": "x", "tags": ["think"], "partial": True},
    {"type": "length", "name": "l", "unit": "tokens", "max": 2, "falloff": 4},
    {"type": "repetition", "name": "p", "words": 1},
    {"type": "math", "reference": "{{item.answer}}", "processes": 1},
    {"type": "multi", "name": "m", "graders": {"a": STRING, "b": SIMILAR}, "calculate_output": "0.5 * a + 0.5 * b"},
    {"type": "python_file", "path": "grader.py:grade"},
    {"type": "python", "source": "def grade(sample, item):\n    return len(sample['output_text']) / 10\n"},
    {"type": "code_tests", "tests": '[{"input": "", "output": "1"}]', "extract": "all"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    ref: ModelRef = REGISTRY.build("model_source", MODEL, BuildContext(base_dir=Path())).materialize(
        tmp_path_factory.mktemp("models")
    )
    return ref


@pytest.fixture(scope="module")
def policy(model: ModelRef) -> WeightRef:
    return WeightRef(
        run_id="c", lineage="main", number=0, digest=digest_of(model.path), kind="full", path=str(model.path)
    )


def groups() -> list[Group]:
    return [
        Group(
            ordinal=n,
            item=Item(
                key=f"k{n}",
                index=n,
                row={"messages": [{"role": "user", "content": "1+1="}], "name": f"row {n}", "answer": "2"},
            ),
            rollouts=tuple(replace(rollout(n, s, 3), text=f"answer {s}") for s in range(3)),
        )
        for n in range(3)
    ]


@pytest.mark.parametrize("where", ["here", "in a worker"])
@pytest.mark.parametrize("raw", GRADERS, ids=lambda raw: str(raw["type"]))
def test_graders(tmp_path: Path, raw: dict[str, Any], where: str) -> None:
    """Graders keep the contract, and a worker grades exactly as this process does."""
    (tmp_path / "grader.py").write_text("def grade(sample, item):\n    return len(sample['output_text']) / 10\n")
    with contextlib.closing(REGISTRY.build("grader", raw, BuildContext(base_dir=tmp_path))) as local:
        if where == "here":
            contract.check_grader(local, groups())
            return
        with open_pool("grader", raw, WorkerConfig(), run_id="c", base_dir=tmp_path, log_dir=tmp_path) as pool:
            remote = PooledGrader(pool, run_id="c")
            contract.check_grader(remote, groups())
            for group in groups():
                assert tuple(remote.grade(group)) == tuple(local.grade(group))


def test_samplers(tmp_path: Path, model: ModelRef, policy: WeightRef) -> None:
    """The sampler keeps the contract, and a worker samples the same bits as this process."""
    import torch

    torch.set_num_threads(1)
    raw = {"type": "transformers"}
    prompts = ["1+1=", "12+3=", "5+7="]
    local = REGISTRY.build("sampler", raw, BuildContext(base_dir=tmp_path, model=model))
    contract.check_sampler(local, policy, prompts)
    worker = WorkerConfig(threads=1)
    with open_pool("sampler", raw, worker, run_id="c", base_dir=tmp_path, model=model, log_dir=tmp_path) as pool:
        remote = PooledSampler(pool)
        contract.check_sampler(remote, policy, prompts)
        unit = contract.sample_unit(policy, prompts, temperature=0.7, top_p=0.9)
        assert remote.sample(unit).groups == local.sample(unit).groups
        assert remote.info() == local.info()


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
def test_optimizers(tmp_path: Path, model: ModelRef, policy: WeightRef, lora: dict[str, int] | None) -> None:
    """Both optimizers keep the contract, with all weights and with an adapter."""
    context = BuildContext(base_dir=tmp_path, model=model, sampling=SamplingParams(), settings={"total_steps": 4})
    rows = [{"messages": [{"role": "user", "content": f"{n}+1="}], "answer": str(n + 1)} for n in range(4)]
    items = [Item(key=str(n), index=n, row=row) for n, row in enumerate(rows)]
    raw = {"type": "sft", "target": "{{item.answer}}", "learning_rate": 1e-3, "lora": lora}
    contract.check_optimizer(lambda: REGISTRY.build("optimizer", raw, context), contract.batches_of_items(items, 4))

    sampler = REGISTRY.build("sampler", {"type": "transformers"}, BuildContext(base_dir=tmp_path, model=model))
    sampler.load_policy(policy)
    answer = sampler.sample(contract.sample_unit(policy, [f"{n}+1=" for n in range(4)], samples=4))
    graded = [
        GradedGroup(
            group=Group(ordinal=n, item=items[n], rollouts=rollouts),
            grades=tuple(Grade.score(float(r.sample % 2)) for r in rollouts),
        )
        for n, rollouts in enumerate(answer.groups)
    ]
    raw = {"type": "policy_gradient", "learning_rate": 1e-3, "lora": lora}
    contract.check_optimizer(lambda: REGISTRY.build("optimizer", raw, context), contract.batches_of_groups(graded, 4))


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
@pytest.mark.parametrize("kind", ["dpo", "reward_model"])
def test_optimizers_of_pairs(tmp_path: Path, model: ModelRef, kind: str, lora: dict[str, int] | None) -> None:
    """Those that learn from pairs keep it too."""
    context = BuildContext(base_dir=tmp_path, model=model, settings={"total_steps": 4})
    raw = {"type": kind, "learning_rate": 1e-3, "lora": lora}
    contract.check_optimizer(lambda: REGISTRY.build("optimizer", raw, context), contract.batches_of_items(pairs(), 4))


def pairs() -> list[Item]:
    """Right and wrong sums."""
    rows = [
        {"messages": [{"role": "user", "content": f"{n}+1="}], "chosen": str(n + 1), "rejected": str(n)}
        for n in range(4)
    ]
    return [Item(key=str(n), index=n, row=row) for n, row in enumerate(rows)]


@pytest.mark.parametrize("where", ["here", "in a worker"])
def test_the_grader_that_asks_a_reward_model(tmp_path: Path, model: ModelRef, where: str) -> None:
    """It keeps the contract with a model that its optimizer trained, and a worker grades exactly as this process."""
    import torch

    torch.set_num_threads(1)
    context = BuildContext(base_dir=tmp_path, model=model, settings={"total_steps": 4})
    optimizer = REGISTRY.build("optimizer", {"type": "reward_model", "learning_rate": 1e-2}, context)
    for batch in contract.batches_of_items(pairs(), 4):
        optimizer.step(batch)
    optimizer.save(tmp_path)
    raw = {"type": "reward_model", "path": "policy"}
    with contextlib.closing(REGISTRY.build("grader", raw, BuildContext(base_dir=tmp_path))) as local:
        if where == "here":
            contract.check_grader(local, groups())
            assert len({grade.reward for group in groups() for grade in local.grade(group)}) == 3
            return
        worker = WorkerConfig(threads=1)
        with open_pool("grader", raw, worker, run_id="c", base_dir=tmp_path, log_dir=tmp_path) as pool:
            remote = PooledGrader(pool, run_id="c")
            contract.check_grader(remote, groups())
            for group in groups():
                assert tuple(remote.grade(group)) == tuple(local.grade(group))


@pytest.mark.parametrize(
    "kind",
    [
        "jsonl",
        "python_file",
        "arithmetic",
        "csv",
        "parquet",
        "hf_dataset",
        "jsonl_shards",
        "preferences",
        "split",
        "filter",
    ],
)
def test_data_sources(tmp_path: Path, kind: str) -> None:
    """Data sources keep the contract."""
    row = {"messages": [{"role": "user", "content": "x"}]}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({**row, "n": n}) + "\n" for n in range(5)))
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({**row, "chosen": str(n), "rejected": "x"}) + "\n" for n in range(5))
    )
    (tmp_path / "rows.csv").write_text("n\n" + "\n".join(map(str, range(5))))
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.table({"n": list(range(5))}), tmp_path / "shards" / "train.parquet")
    (tmp_path / "data.py").write_text(f"def rows():\n    return [dict({row!r}, n=n) for n in range(5)]\n")
    raw = {
        "jsonl": {"type": "jsonl", "path": "rows.jsonl"},
        "python_file": {"type": "python_file", "path": "data.py:rows"},
        "arithmetic": {"type": "arithmetic", "count": 50},
        "csv": {"type": "csv", "path": "rows.csv", "prompt": "{{item.n}}"},
        "parquet": {"type": "parquet", "path": "shards/train.parquet", "prompt": "{{item.n}}"},
        "hf_dataset": {"type": "hf_dataset", "path": "shards", "prompt": "{{item.n}}"},
        "jsonl_shards": {"type": "jsonl_shards", "path": "."},
        "preferences": {"type": "preferences", "path": "pairs.jsonl"},
        "split": {"type": "split", "source": {"type": "arithmetic", "count": 50}},
        "filter": {
            "type": "filter",
            "source": {"type": "jsonl", "path": "rows.jsonl"},
            "where": [{"key": "n", "op": "gt", "value": 1}],
        },
    }[kind]
    contract.check_data_source(lambda: REGISTRY.build("data_source", raw, BuildContext(base_dir=tmp_path)))


def test_the_kit_catches_what_breaks_the_contract() -> None:
    """A grader that answers too few, or whose answers depend on earlier ones, fails the check."""

    class TooFew:
        def grade(self, group: Group) -> list[Grade]:
            return [Grade.score(1.0)]

        def close(self) -> None: ...

    class Counting:
        calls = 0

        def grade(self, group: Group) -> list[Grade]:
            self.calls += 1
            return [Grade.score(float(self.calls)) for _ in group.rollouts]

        def close(self) -> None: ...

    with pytest.raises(AssertionError, match="1 grades for 3 rollouts"):
        contract.check_grader(TooFew(), groups())
    with pytest.raises(AssertionError, match="graded before"):
        contract.check_grader(Counting(), groups())


def test_the_policy_file_is_what_samplers_load(model: ModelRef) -> None:
    """The model source writes the file that policy versions are read from."""
    assert (model.path / FULL_FILE).exists()
