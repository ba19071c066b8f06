"""TRL's half of `speed.py`: its GRPOTrainer over the workload in a folder, in TRL's own Python environment.

Each line on standard input asks for that many updates; each answer is a line of JSON. An update is what TRL's own
training step does once generation has prepared its inputs: `compute_loss` under the trainer's context, the
accelerator's backward pass, clipping, the optimizer, the schedule. Imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from process import answer, hold_peak, measure_memory, same_adapter, seconds, touch


def main(folder: Path) -> None:
    workload = json.loads((folder / "workload.json").read_text(encoding="utf-8"))
    torch.set_num_threads(workload["threads"])
    trainer = build(folder, workload)
    inputs = prepared(workload)
    same_adapter(trainer.model)
    touch(trainer.model)
    loaded = measure_memory()
    hold_peak()
    for line in sys.stdin:
        reports: list[dict[str, float]] = []
        took = seconds(lambda: reports.append(update(trainer, inputs)), int(line))  # noqa: B023
        answer({**took, "loaded": loaded, **measure_memory("peak"), **reports[-1]})


def build(folder: Path, workload: dict[str, Any]) -> Any:
    """A trainer with TRL's defaults, but for what the workload fixes and what would only cost it time."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import GRPOConfig, GRPOTrainer

    rows, group = len(workload["prompts"]), workload["group"]
    args = GRPOConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=workload["compute"] == "bfloat16",
        gradient_checkpointing=workload["trl_checkpointing"],
        per_device_train_batch_size=workload["trl_rows"],
        gradient_accumulation_steps=rows // workload["trl_rows"],
        num_generations=group,
        max_completion_length=len(workload["completions"][0]),
        loss_type="grpo",
        beta=0.0,
        learning_rate=workload["learning_rate"],
        lr_scheduler_type="constant",
        max_steps=1_000_000,
        report_to=[],
        model_init_kwargs={"dtype": workload["weights"]},
    )
    lora = workload["lora"]
    adapter = LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], target_modules="all-linear") if lora else None
    trainer = GRPOTrainer(
        model=str(folder / "model"),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "x"}] * rows),
        peft_config=adapter,
    )
    trainer.create_optimizer_and_scheduler(num_training_steps=args.max_steps)
    trainer.model_wrapped, trainer.optimizer, trainer.lr_scheduler = trainer.accelerator.prepare(
        trainer.model, trainer.optimizer, trainer.lr_scheduler
    )
    trainer.current_gradient_accumulation_steps = args.gradient_accumulation_steps
    return trainer


def prepared(workload: dict[str, Any]) -> dict[str, torch.Tensor]:
    """What `_prepare_inputs` would hand to a training step. Prompts have one length, so nothing is padded."""
    prompts, completions = torch.tensor(workload["prompts"]), torch.tensor(workload["completions"])
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": completions,
        "completion_mask": torch.ones_like(completions),
        "advantages": torch.tensor(workload["advantages"]),
        "num_items_in_batch": torch.tensor(float(completions.numel())),
    }


def update(trainer: Any, inputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Passes of `Trainer.training_step` over the batch in parts, and what follows them in the training loop."""
    model = trainer.model_wrapped
    model.train()
    total, size = 0.0, trainer.args.per_device_train_batch_size
    for start in range(0, len(inputs["prompt_ids"]), size):
        part = {key: value[start : start + size] if value.ndim else value for key, value in inputs.items()}
        with trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, part)
        trainer.accelerator.backward(loss)
        total += float(loss.detach())
    norm = trainer.accelerator.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
    trainer.optimizer.step()
    trainer.lr_scheduler.step()
    model.zero_grad()
    trainer._metrics["train"].clear()
    return {"loss": total, "norm": float(norm)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
