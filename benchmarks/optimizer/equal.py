"""Loss and gradient of every preset that TRL has, beside TRL's own trainers: same weights, tokens and rewards.

    python benchmarks/optimizer/equal.py --trl-python PATH

`--trl-python` is the interpreter of an environment with torch 2.13.0, transformers 5.23.0 and TRL 1.16.0; this one
has none. In float32, on a small Llama whose policy differs from its reference and from the policy that the rollouts
are from, so that ratios clip and KL is not 0; groups are ragged. For each case the table has both losses, their
difference, and the norm of the difference of the gradients over the norm of TRL's.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from rft_core import BuildContext, Grade, GradedGroup, Group, Item, ModelRef, Rollout, Segment, TrainBatch
from rft_core.registry import Registry
from rft_core.types import SamplingParams
from rft_torch.prompts import encode_prompt

HERE = Path(__file__).parent
ALPHABET = "0123456789+=;#"
GROUPS, SAMPLES, LONGEST = 4, 4, 12
EPS = {"eps": 1e-4}
"""What TRL adds to standard deviations."""

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grpo": ({"loss_type": "grpo"}, {"algorithm": "grpo", "advantage": EPS}),
    "grpo with kl": (
        {"loss_type": "grpo", "beta": 0.2, "use_bias_correction_kl": False},
        {"algorithm": "grpo", "advantage": EPS, "kl": 0.2},
    ),
    "grpo with unbiased kl": (
        {"loss_type": "grpo", "beta": 0.2},
        {"algorithm": "grpo", "advantage": EPS, "kl": {"weight": 0.2, "unbiased": True}},
    ),
    "grpo with dual clip": ({"loss_type": "grpo", "delta": 1.5}, {"advantage": EPS, "objective": {"dual": 1.5}}),
    "grpo with entropy": (
        {"loss_type": "bnpo", "entropy_coef": 0.3},
        {"algorithm": "bnpo", "advantage": EPS, "entropy": 0.3},
    ),
    "dr_grpo": (
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        {"algorithm": "dr_grpo", "aggregation": {"length": LONGEST}},
    ),
    "dapo": (
        {"loss_type": "dapo", "epsilon_high": 0.28},
        {"algorithm": "dapo", "advantage": EPS, "zero_variance": "keep"},
    ),
    "bnpo": ({"loss_type": "bnpo"}, {"algorithm": "bnpo", "advantage": EPS}),
    "cispo": (
        {"loss_type": "cispo", "epsilon_high": 1.1},
        {"algorithm": "cispo", "advantage": EPS, "objective": {"max_ratio": 1.1}},
    ),
    "sapo": ({"loss_type": "sapo"}, {"algorithm": "sapo", "advantage": EPS}),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
        {"algorithm": "gspo", "advantage": EPS},
    ),
    "gdpo": (
        {"loss_type": "grpo", "multi_objective_aggregation": "normalize_then_sum", "reward_weights": [1.0, 0.5]},
        {"algorithm": "gdpo", "advantage": {**EPS, "weights": {"a": 1.0, "b": 0.5}}},
    ),
    "rloo": ({}, {"algorithm": "rloo"}),
    "rloo with kl": (
        {"beta": 0.05},
        {"algorithm": "rloo", "kl": {"weight": 0.05, "estimator": "k1", "in_reward": True}},
    ),
    "sft": ({}, {"target": "{{item.chosen}}"}),
    "dpo": ({"beta": 0.3}, {"beta": 0.3}),
    "dpo with ipo": ({"beta": 0.3, "loss_type": ["ipo"]}, {"beta": 0.3, "loss": "ipo"}),
    "dpo with hinge": ({"beta": 0.3, "loss_type": ["hinge"]}, {"beta": 0.3, "loss": "hinge"}),
    "reward model": ({"center_rewards_coefficient": 0.01}, {"center_rewards": 0.01, "margin": "{{item.margin}}"}),
}
"""Settings of TRL's trainer and of ours."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trl-python", required=True, help="interpreter of an environment with TRL")
    options = parser.parse_args()
    torch.set_num_threads(1)
    registry = Registry.discover()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workload = prepare(registry, folder)
        (folder / "workload.json").write_text(json.dumps(workload))
        subprocess.run(
            [options.trl_python, str(HERE / "trl_equal.py"), str(folder)], check=True, stdout=subprocess.DEVNULL
        )
        print(
            "| case | loss, TRL | loss, rft-engine | difference | gradient, relative difference |\n|---|---|---|---|---|"
        )
        for case, (_, settings) in CASES.items():
            theirs = json.loads((folder / f"{case}.json").read_text())["loss"]
            ours, gradient = measured(registry, folder, workload, case, settings)
            apart = distance(gradient, load_file(folder / f"{case}.safetensors"))
            print(f"| {case} | {theirs:.7f} | {ours:.7f} | {abs(theirs - ours):.1e} | {apart:.1e} |", flush=True)


def prepare(registry: Registry, folder: Path) -> dict[str, Any]:
    """A reference and a policy in `folder`, and what is learned from."""
    shape = {
        "hidden_size": 64,
        "layers": 2,
        "heads": 4,
        "max_context": 64,
        "tokenizer": {"type": "characters", "alphabet": ALPHABET},
    }
    for name, seed in (("reference", 1), ("policy", 2)):
        raw = {"type": "tiny_llama", "seed": seed, **shape}
        made = registry.build("model_source", raw, BuildContext(base_dir=folder)).materialize(folder / "cache")
        target = folder / name
        target.mkdir()
        for file in made.path.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
    _between(folder / "reference" / "model.safetensors", folder / "policy" / "model.safetensors")
    draw = random.Random(0)
    return {
        "groups": [_group(draw, ordinal, folder) for ordinal in range(GROUPS)],
        "pairs": [_pair(draw, folder) for _ in range(6)],
        "cases": {case: theirs for case, (theirs, _) in CASES.items()},
        "longest": LONGEST,
        "samples": SAMPLES,
    }


def _between(reference: Path, policy: Path) -> None:
    """Make the policy a neighbour of the reference."""
    from safetensors.torch import save_file

    a, b = load_file(reference), load_file(policy)
    save_file({name: 0.98 * a[name] + 0.02 * b[name] for name in a}, policy, metadata={"format": "pt"})


def _group(draw: random.Random, ordinal: int, folder: Path) -> dict[str, Any]:
    """Ragged rollouts with log-probabilities near the policy's, and rewards of two graders."""
    prompt = _tokens(folder)(_sum(draw))
    rollouts = []
    for _ in range(SAMPLES):
        ids = [draw.randrange(3, 16) for _ in range(draw.randint(3, LONGEST))]
        a, b = round(draw.random(), 3), round(draw.random(), 3)
        behaviour = [p + draw.gauss(0, 0.3) for p in _own_logprobs(folder, prompt, ids)]
        rollouts.append(
            {"ids": ids, "logprobs": [float(torch.tensor(min(p, -1e-3))) for p in behaviour], "a": a, "b": b}
        )
    return {"ordinal": ordinal, "prompt": prompt, "rollouts": rollouts}


def _pair(draw: random.Random, folder: Path) -> dict[str, Any]:
    encode = _tokens(folder)
    text, chosen, rejected = _sum(draw), str(draw.randrange(10, 99)), str(draw.randrange(100, 9999))
    from rft_torch.models import load_tokenizer

    tokenizer = load_tokenizer(folder / "policy")
    ends = [tokenizer.eos_token_id]
    return {
        "row": {
            "messages": [{"role": "user", "content": text}],
            "chosen": chosen,
            "rejected": rejected,
            "margin": round(draw.random(), 2),
        },
        "prompt_ids": encode(text),
        "chosen_ids": tokenizer(chosen, add_special_tokens=False)["input_ids"] + ends,
        "rejected_ids": tokenizer(rejected, add_special_tokens=False)["input_ids"] + ends,
    }


def _sum(draw: random.Random) -> str:
    return f"{draw.randrange(10 ** draw.randint(1, 3))}+{draw.randrange(100)}="


def _tokens(folder: Path) -> Any:
    from rft_torch.models import load_tokenizer

    tokenizer = load_tokenizer(folder / "policy")
    return lambda text: encode_prompt(tokenizer, [{"role": "user", "content": text}])


def _own_logprobs(folder: Path, prompt: list[int], ids: list[int]) -> list[float]:
    from rft_torch.models import load_model

    model = load_model(ModelRef(path=folder / "policy"))
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    return [float(row[token]) for row, token in zip(logits.log_softmax(-1), ids, strict=True)]


def measured(
    registry: Registry, folder: Path, workload: Mapping[str, Any], case: str, settings: Mapping[str, Any]
) -> tuple[float, dict[str, torch.Tensor]]:
    """Our loss and gradient. The policy is loaded over the reference, which the optimizer was built from."""
    kind = {"sft": "sft", "dpo": "dpo", "reward": "reward_model"}.get(case.split()[0], "policy_gradient")
    raw = {"type": kind, "learning_rate": 1e-3, "max_grad_norm": None, "threads": 1, **settings}
    if kind == "policy_gradient":
        raw["old_logprobs"] = "sampler"
    start = "policy" if kind in ("sft", "reward_model") else "reference"
    context = BuildContext(
        base_dir=folder, model=ModelRef(path=folder / start), sampling=SamplingParams(max_tokens=LONGEST)
    )
    optimizer = registry.build("optimizer", raw, context)
    trainer = optimizer._trainer
    if kind == "reward_model":
        _head(trainer.model)
    elif start == "reference":
        _load_policy(trainer, folder)
    caught: dict[str, torch.Tensor] = {}
    trainer._adamw.register_step_pre_hook(
        lambda *_: caught.update({n: p.grad.clone() for n, p in trainer.parameters.items() if p.grad is not None})
    )
    if kind == "policy_gradient":
        batch = TrainBatch(step=1, total_steps=1, groups=tuple(_graded(g, case) for g in workload["groups"]))
    else:
        items = [Item(key=str(i), index=i, row=pair["row"]) for i, pair in enumerate(workload["pairs"])]
        batch = TrainBatch(step=1, total_steps=1, items=tuple(items))
    report = optimizer.step(batch)
    return report.metrics["loss"], caught


def _load_policy(trainer: Any, folder: Path) -> None:
    """In place, behind the reference's back."""
    from rft_torch.weights import load_full

    kept = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    load_full(trainer.model, folder / "policy")
    if trainer._initial is not None:
        trainer._initial = kept


def _head(model: Any) -> None:
    """The same opinion on both sides; a fresh head has none."""
    with torch.no_grad():
        model.score.weight.copy_(torch.linspace(-1, 1, model.score.weight.numel()).view_as(model.score.weight))


def _graded(group: Mapping[str, Any], case: str) -> GradedGroup:
    item = Item(key=str(group["ordinal"]), index=group["ordinal"], row={"messages": []})
    rollouts = tuple(
        Rollout(
            ordinal=group["ordinal"],
            sample=n,
            seed=0,
            segments=(
                Segment(role="prompt", token_ids=tuple(group["prompt"])),
                Segment(
                    role="assistant", token_ids=tuple(r["ids"]), logprobs=tuple(r["logprobs"]), trained=True, policy=0
                ),
            ),
            text="",
            finish_reason="stop",
        )
        for n, r in enumerate(group["rollouts"])
    )
    grades = tuple(Grade.score(r["a"]) for r in group["rollouts"])
    if case == "gdpo":
        pairs = zip(grades, group["rollouts"], strict=True)
        grades = tuple(replace(g, sub_rewards={"a": r["a"], "b": r["b"]}) for g, r in pairs)
    return GradedGroup(group=Group(ordinal=group["ordinal"], item=item, rollouts=rollouts), grades=grades)


def distance(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> float:
    """Norm of the difference over the norm of theirs. SystemExit where they are of other parameters."""
    if ours.keys() != theirs.keys():
        raise SystemExit(f"gradients are of other parameters: {sorted(ours.keys() ^ theirs.keys())}")
    apart = sum(float((ours[n].double() - theirs[n].double()).norm()) ** 2 for n in theirs)
    return math.sqrt(apart / sum(float(theirs[n].double().norm()) ** 2 for n in theirs))


if __name__ == "__main__":
    main()
