"""TRL's half of `equal.py`: loss and gradient of its trainers, in TRL's own Python environment.

Only sampling is replaced: GRPO's and RLOO's trainers are handed the rollouts, and score, normalise and compute their
loss themselves. The rollouts are from another policy, whose log-probabilities take the place of those that the
trainer would have computed before the step. Imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    workload = json.loads((folder / "workload.json").read_text())
    for case, settings in workload["cases"].items():
        kind = case.split()[0]
        measure = {"rloo": rloo, "sft": sft, "dpo": dpo, "reward": reward}.get(kind, grpo)
        model, loss = measure(folder, workload, settings)
        loss.backward()
        gradient = {n: p.grad.contiguous() for n, p in sorted(model.named_parameters()) if p.grad is not None}
        save_file(gradient, folder / f"{case}.safetensors")
        (folder / f"{case}.json").write_text(json.dumps({"loss": float(loss.detach())}))


def arguments(folder: Path, rows: int) -> dict[str, Any]:
    """What every trainer is told."""
    return {
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": rows,
        "report_to": [],
        "disable_tqdm": True,
    }


def policy_and_tokenizer(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder / "policy", dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder / "policy")


def with_reference(trainer: Any, folder: Path) -> None:
    """Put the reference's weights where the trainer has made its copy of the policy."""
    if trainer.ref_model is not None:
        trainer.ref_model.load_state_dict(load_file(folder / "reference" / "model.safetensors"), strict=False)


def rollouts_of(workload: Any) -> list[dict[str, Any]]:
    return [{**r, "prompt": g["prompt"]} for g in workload["groups"] for r in g["rollouts"]]


def padded(workload: Any) -> torch.Tensor:
    rows = [torch.tensor(r["logprobs"]) for r in rollouts_of(workload)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def grpo(folder: Path, workload: Any, settings: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    from trl import GRPOConfig, GRPOTrainer

    rollouts = rollouts_of(workload)
    model, tokenizer = policy_and_tokenizer(folder)
    first = {"beta": 0.0, **settings}

    def drawn(prompts: Any, trainer: Any) -> dict[str, Any]:
        return {
            "prompt_ids": [r["prompt"] for r in rollouts],
            "completion_ids": [r["ids"] for r in rollouts],
            "logprobs": [r["logprobs"] for r in rollouts],
        }

    graders = [lambda completions, **_: [r["a"] for r in rollouts]]
    if "reward_weights" in settings:
        graders.append(lambda completions, **_: [r["b"] for r in rollouts])
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=graders,
        args=GRPOConfig(
            **arguments(folder, len(rollouts)),
            num_generations=workload["samples"],
            max_completion_length=workload["longest"],
            temperature=1.0,
            **first,
        ),
        train_dataset=Dataset.from_list([{"prompt": "1"}] * len(rollouts)),
        processing_class=tokenizer,
        rollout_func=drawn,
    )
    with_reference(trainer, folder)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    inputs = trainer._generate_and_score_completions([{"prompt": "1"}] * len(rollouts))
    inputs["old_per_token_logps"] = padded(workload)
    return model, trainer.compute_loss(trainer.model, inputs)


def rloo(folder: Path, workload: Any, settings: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    from trl import RLOOConfig, RLOOTrainer

    rollouts = rollouts_of(workload)
    model, tokenizer = policy_and_tokenizer(folder)
    trainer = RLOOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [r["a"] for r in rollouts],
        args=RLOOConfig(
            **arguments(folder, len(rollouts)),
            num_generations=workload["samples"],
            max_completion_length=workload["longest"],
            temperature=1.0,
            **{"beta": 0.0, **settings},
        ),
        train_dataset=Dataset.from_list([{"prompt": "1"}] * len(rollouts)),
        processing_class=tokenizer,
    )
    with_reference(trainer, folder)
    ids = [r["ids"] for r in rollouts]
    trainer._generate = lambda prompts: ([r["prompt"] for r in rollouts], ids, tokenizer.batch_decode(ids))
    trainer.model.train()
    inputs = trainer._generate_and_score_completions([{"prompt": "1"}] * len(rollouts))
    inputs["old_logps"] = padded(workload).sum(-1)
    return model, trainer.compute_loss(trainer.model, inputs)


def sft(folder: Path, workload: Any, settings: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = policy_and_tokenizer(folder)
    rows = [
        {
            "input_ids": p["prompt_ids"] + p["chosen_ids"],
            "completion_mask": [0] * len(p["prompt_ids"]) + [1] * len(p["chosen_ids"]),
        }
        for p in workload["pairs"]
    ]
    args = SFTConfig(**arguments(folder, len(rows)), completion_only_loss=True, **settings)
    trainer = SFTTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    return model, trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))


def dpo(folder: Path, workload: Any, settings: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = policy_and_tokenizer(folder)
    reference = AutoModelForCausalLM.from_pretrained(folder / "reference", dtype=torch.float32)
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    texts = [
        {"prompt": p["row"]["messages"][0]["content"], "chosen": p["row"]["chosen"], "rejected": p["row"]["rejected"]}
        for p in workload["pairs"]
    ]
    trainer = DPOTrainer(
        model=model,
        ref_model=reference,
        args=DPOConfig(**arguments(folder, len(texts)), **settings),
        train_dataset=Dataset.from_list(texts),
        processing_class=tokenizer,
    )
    # the tokens of the pairs, not those that TRL's own tokenizing gives without the template
    batch = trainer.data_collator([{key: p[key] for key in columns} for p in workload["pairs"]])
    return model, trainer.compute_loss(trainer.model, batch)


def reward(folder: Path, workload: Any, settings: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    from trl import RewardConfig, RewardTrainer

    model = AutoModelForSequenceClassification.from_pretrained(folder / "policy", num_labels=1, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    model.config.pad_token_id = tokenizer.pad_token_id
    with torch.no_grad():
        model.score.weight.copy_(torch.linspace(-1, 1, model.score.weight.numel()).view_as(model.score.weight))
    rows = [
        {
            "chosen_ids": p["prompt_ids"] + p["chosen_ids"],
            "rejected_ids": p["prompt_ids"] + p["rejected_ids"],
            "margin": p["row"]["margin"],
        }
        for p in workload["pairs"]
    ]
    args = RewardConfig(**arguments(folder, len(rows)), **settings)
    trainer = RewardTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    return model, trainer.compute_loss(trainer.model, trainer.data_collator(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
