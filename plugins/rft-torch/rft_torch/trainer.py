"""The trainable policy and its AdamW: what every optimizer on torch does the same way.

Weights that are trained are float32; a half-precision model computes under autocast over them.
Updates go in a fixed order on a fixed plan, so on CPU equal calls give equal bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rft_core.errors import ConfigError, IntegrityError, ModelError, NumericsError
from rft_core.seeds import seed_of
from rft_core.specs import BuildContext
from rft_core.types import WeightRef
from rft_core.weights import digest_of
from rft_torch import optimizer_state
from rft_torch.batching import TokenRow, plan, plan_streams
from rft_torch.forward import (
    MicroBatch,
    can_share_prefixes,
    can_stream,
    pack,
    pack_stream,
    wanted_hidden,
    wanted_logits,
)
from rft_torch.lora import adapter_off, add_lora, check_same_lora
from rft_torch.lora_linear import fuse
from rft_torch.memory import enough_memory
from rft_torch.models import load_model
from rft_torch.output_layer import batch_logprobs, is_plain
from rft_torch.packages import check_packages
from rft_torch.quantized import adamw_8bit
from rft_torch.recompute import checkpoint_layers
from rft_torch.scalar import config_of, is_scalar, scalar_values
from rft_torch.settings import TrainerConfig, learning_rate
from rft_torch.weights import copy_side_files, load_adapter, load_full, publish_adapter, publish_full, write_config

POLICY_FOLDER = "policy"
STATE_FILE = "optimizer.safetensors"
TRAINER_FILE = "trainer.json"
FORMAT = 1
TO_FIT = (
    "Lower optimizer.micro_batch_tokens, train an adapter (optimizer.lora), or free the device: samplers share it, "
    "and keep up to sampler.max_cache_bytes each."
)


class Trainer:
    """Holds the policy, moves it by AdamW, publishes, saves and continues it.

    `keep_reference` keeps what `reference()` needs of the initial weights: nothing, if an adapter starts fresh. `load`
    says what kind of model is trained: a language model, or with `rft_torch.scalar.load_scalar_model` one that says a
    number per position. `where` is the key path of `config`, for errors.
    """

    def __init__(
        self,
        config: TrainerConfig,
        context: BuildContext,
        *,
        keep_reference: bool = False,
        load: Callable[..., PreTrainedModel] = load_model,
        where: str = "optimizer",
    ) -> None:
        if context.model is None:
            raise ConfigError("an optimizer needs a model; set model in the run file", where=where)
        ref = context.model
        if ref.dtype == "float16":
            raise ConfigError("training in float16 would need loss scaling; set model.dtype to bfloat16 or float32")
        quantize = {"quantize": config.lora.quantize} if config.lora and config.lora.quantize else {}
        check_packages(config, where)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.config = config
        self.policy = 0
        self._seed = context.seed
        self._not_made = (
            f"the update was not made: look at what these learn from, or begin a run with a lower {where}.learning_rate"
        )
        self.base = ref.path
        self._published_dtype: torch.dtype = getattr(torch, ref.dtype)
        self._adapter = config.lora is not None or ref.adapter is not None
        self.model = load(ref if self._adapter else replace(ref, dtype="float32"), trainable=True, **quantize)
        if ref.adapter is not None:
            check_same_lora(self.model, config.lora, where=f"{where}.lora")
        elif config.lora is not None:
            seed = seed_of(context.seed, "train")
            add_lora(self.model, config.lora, seed=seed, base_path=str(ref.path), where=f"{where}.lora")
        self.device = next(self.model.parameters()).device
        self.bitwise = self.device.type == "cpu"
        self.parameters = {name: p for name, p in sorted(self.model.named_parameters()) if p.requires_grad}
        self.share_prompts = can_share_prefixes(self.model)
        if self._adapter:
            fuse(self.model)
        with self.autocast():
            streams = config.packing and can_stream(self.model)
            self._plain_output = is_plain(self.model)
        if config.packing and not streams:
            raise ConfigError(
                f"{type(self.model).__name__} does not compute rows in a stream as it computes them alone; turn packing off",
                where=f"{where}.packing",
            )
        if config.activation_checkpointing:
            checkpoint_layers(self.model)
        self._adamw = self._build_adamw()
        self._fresh_adapter = config.lora is not None and ref.adapter is None
        self._initial = self._reference_weights() if keep_reference else None

    def _reference_weights(self) -> dict[str, Tensor]:
        """Copies of what a reference pass puts back: all that is trained, but for an adapter that is switched off."""
        return {
            name: p.detach().clone()
            for name, p in self.parameters.items()
            if not (self._fresh_adapter and "lora_" in name)
        }

    def _build_adamw(self) -> torch.optim.Optimizer:
        """Matrices decay, vectors (norms, biases) do not."""
        config = self.config
        groups = [
            {"params": [p for p in self.parameters.values() if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in self.parameters.values() if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if config.adamw_8bit:
            return adamw_8bit(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps)
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """For the forward and backward passes of a step and its updates: autocast, and the dropout of LoRA
        if it has one. No gradient survives it, so a step that fails leaves nothing for the next one."""
        try:
            with self.autocast(), self._dropout(), enough_memory("a training step", TO_FIT):
                yield
        finally:
            self._adamw.zero_grad(set_to_none=True)

    @contextmanager
    def _dropout(self) -> Iterator[None]:
        """Turn LoRA's dropout on, drawn from the run's seed and the policy version."""
        if self.config.lora is None or self.config.lora.dropout == 0.0:
            yield
            return
        modules = [module for name, module in self.model.named_modules() if "lora_dropout" in name]
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed_of(self._seed, "train", self.policy))
            for module in modules:
                module.train()
            try:
                yield
            finally:
                for module in modules:
                    module.eval()

    def autocast(self) -> AbstractContextManager[Any]:
        if self._published_dtype == torch.float32:
            return nullcontext()
        # Without its cache of cast weights: within a step the weights change, by updates and for the reference.
        return torch.autocast(self.device.type, dtype=self._published_dtype, cache_enabled=False)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """The policy as it was before the first update, without gradients: the base model with its adapter switched off
        if the run's adapter began as no update at all, else with the weights that were kept."""
        if self._initial is None:
            raise RuntimeError("this trainer was built without a reference")
        current = {name: self.parameters[name].data for name in self._initial}
        try:
            for name, initial in self._initial.items():
                self.parameters[name].data = initial
            with torch.no_grad(), adapter_off(self.model) if self._fresh_adapter else nullcontext():
                yield
        finally:
            for name, data in current.items():
                self.parameters[name].data = data

    def plan(self, rows: Sequence[TokenRow]) -> list[list[int]]:
        """Indices into `rows` per micro-batch, by the layout that is configured; every row once."""
        cut = plan_streams if self.config.packing else plan
        return cut(rows, self.config.micro_batch_tokens)

    def pack(self, rows: Sequence[TokenRow]) -> MicroBatch:
        """The rows as one micro-batch, by the layout that is configured."""
        return (pack_stream if self.config.packing else pack)(rows, self.device)

    def logits(self, rows: Sequence[TokenRow]) -> tuple[MicroBatch, Tensor]:
        """The rows as tensors, and logits_NV at their wanted positions."""
        batch = self.pack(rows)
        return batch, wanted_logits(self.model, batch)

    def logprobs(
        self, rows: Sequence[TokenRow], temperature: float, *, entropy_grad: bool = False
    ) -> tuple[MicroBatch, Tensor, Tensor]:
        """The rows as tensors, and of each wanted token logprobs_N (with gradient) and entropy_N (without, unless
        `entropy_grad`)."""
        batch = self.pack(rows)
        return batch, *batch_logprobs(
            self.model, batch, temperature, plain=self._plain_output, entropy_grad=entropy_grad
        )

    def values(self, rows: Sequence[TokenRow]) -> tuple[MicroBatch, Tensor]:
        """The rows as tensors, and values_N (with gradient) of a scalar model before each wanted token."""
        batch = self.pack(rows)
        return batch, scalar_values(self.model, wanted_hidden(self.model, batch))

    def learning_rate(self, total_steps: int) -> float:
        """Of the step that leads to the next policy version."""
        return learning_rate(self.config, self.policy + 1, total_steps)

    def update(self, losses: Sequence[tuple[Tensor, Sequence[str]]], lr: float) -> float:
        """One AdamW step from the gradients that are accumulated now, none if all are 0; returns their norm before
        clipping.

        `losses` are the summed micro-batches with the names of what was in each. NumericsError,
        with the weights unchanged and the gradients dropped, if a loss or a gradient is not finite.
        """
        try:
            finite = torch.stack([loss.detach() for loss, _ in losses]).isfinite().tolist()
            bad = [name for ok, (_, names) in zip(finite, losses, strict=True) if not ok for name in names]
            if bad:
                raise NumericsError(f"the loss is not finite for {_listed(bad)}; {self._not_made}")
            limit = self.config.max_grad_norm
            parameters = list(self.parameters.values())
            norm_tensor = torch.nn.utils.clip_grad_norm_(parameters, limit if limit is not None else torch.inf)
            norm = float(norm_tensor)
            if not norm < float("inf"):
                names = [name for _, some in losses for name in some]
                raise NumericsError(f"the gradient is not finite for {_listed(names)}; {self._not_made}")
            if norm > 0.0:  # momentum alone would move the weights where nothing was learned
                for group in self._adamw.param_groups:
                    group["lr"] = lr
                self._adamw.step()
        finally:
            self._adamw.zero_grad(set_to_none=True)
        return norm

    def publish(self, folder: Path, *, run_id: str, lineage: str) -> WeightRef:
        """The current weights in the model's own precision, for samplers."""
        if self._adapter:
            publish_adapter(self.model, folder)
        else:
            publish_full(self.model, folder, dtype=self._published_dtype)
        return WeightRef(
            run_id=run_id,
            lineage=lineage,
            number=self.policy,
            digest=digest_of(folder),
            kind="adapter" if self._adapter else "full",
            path=str(folder),
        )

    def save(self, folder: Path) -> None:
        """`policy/` (a Hugging Face folder, or an adapter with its tokenizer), AdamW's state, counters."""
        policy = folder / POLICY_FOLDER
        policy.mkdir(parents=True, exist_ok=True)
        if self._adapter:
            publish_adapter(self.model, policy)
        else:
            publish_full(self.model, policy)
            if is_scalar(self.model):  # the base's config may be that of a language model
                write_config(config_of(self.model), policy)
        copy_side_files(self.base, policy, config=not self._adapter)
        optimizer_state.write(self._adamw, self.parameters, folder / STATE_FILE)
        counters = {"format": FORMAT, "policy": self.policy, "kind": "adapter" if self._adapter else "full"}
        (folder / TRAINER_FILE).write_text(json.dumps(counters, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote, bit by bit. IntegrityError or ModelError if it does not fit."""
        counters = _counters(folder / TRAINER_FILE)
        kind = "adapter" if self._adapter else "full"
        if counters.get("kind") != kind:
            raise ModelError(
                f"{folder} holds {counters.get('kind')} weights, but this run trains {kind} ones; make lora agree"
            )
        if self._adapter:
            load_adapter(self.model, folder / POLICY_FOLDER)
        else:
            load_full(self.model, folder / POLICY_FOLDER)
        optimizer_state.read(self._adamw, self.parameters, folder / STATE_FILE)
        self.policy = int(counters["policy"])


def _counters(file: Path) -> Mapping[str, Any]:
    try:
        counters = json.loads(file.read_text(encoding="utf-8"))
        if counters["format"] != FORMAT:
            raise IntegrityError(f"{file} has format {counters['format']}; this version reads {FORMAT}")
        return {**counters, "policy": int(counters["policy"])}
    except FileNotFoundError:
        raise IntegrityError(f"the optimizer's checkpoint lacks {file}; resume from another one") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, IntegrityError):
            raise
        raise IntegrityError(f"{file} cannot be read ({error}); resume from another checkpoint") from error


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
