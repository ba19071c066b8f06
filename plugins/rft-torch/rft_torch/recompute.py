"""Activation checkpointing (arXiv 1604.06174): decoder layers keep their input alone and are computed once more in
the backward pass.

transformers' own switch works in train mode only and drops caches. The trainer keeps models in eval mode, so that its
log-probabilities are the sampler's, and its caches of prefixes bear a second call. Random numbers (LoRA's dropout) and
autocast are as in the first pass: torch.utils.checkpoint restores both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from rft_core.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Recompute every decoder layer in the backward pass, from now on. ConfigError if the architecture's layers are
    not of the kind that transformers offers for it."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError(
            f"{type(model).__name__} has no layers that can be computed again; turn activation_checkpointing off",
            where="optimizer.activation_checkpointing",
        )
    for layer in layers:
        layer.forward = _recomputed(layer.forward)


def _recomputed(forward: Any) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **named)
        return checkpoint(forward, *arguments, use_reentrant=False, **named)

    return call
