"""Models that say one number per position, values and rewards: a decoder under a linear layer with one output.

    value_n = w · h_n          h_n the hidden state behind the last norm, w the head's weight (and bias)

They are what transformers calls sequence classification with one label. In a folder of a language model the head is
missing and starts at zero, so every value is 0 at first; a folder that has one keeps it. Under LoRA the head is
trained whole beside the adapter, as peft's `modules_to_save`.

Legend: N positions, H hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rft_core.errors import ModelError
from rft_core.types import ModelRef
from rft_torch.models import check_folder, from_folder, make_ready, not_finite, quiet

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn
    from transformers import PreTrainedModel


@quiet()
def load_scalar_model(ref: ModelRef, *, trainable: bool = False, quantize: str | None = None) -> PreTrainedModel:
    """The decoder at `ref` with a head of one output, on its device, in its dtype, in eval mode.

    ModelError as `load_model` has it; also for an architecture that transformers cannot put such a head on, or
    a head of another width.
    """
    from transformers import AutoModelForSequenceClassification

    check_folder(ref.path)
    model, missing = from_folder(AutoModelForSequenceClassification, ref, quantize, num_labels=1)
    name, head = named_head(model, ref.path)
    made = {f"{name}.{part}" for part, _ in head.named_parameters()}
    if lacking := sorted(missing - made):
        raise ModelError(
            f"the weights in {ref.path} lack {len(lacking)} tensors, such as {lacking[0]}; fetch the model again"
        )
    for parameter in head.parameters():
        if missing & made:
            parameter.data.zero_()
    make_ready(model, ref, trainable=trainable, quantize=quantize)
    if not all(parameter.isfinite().all() for parameter in head.parameters()):
        raise not_finite(model, ref)
    return model


def is_scalar(model: PreTrainedModel) -> bool:
    """Whether it has a head of its own above the decoder, and no output layer over a vocabulary."""
    return model.get_output_embeddings() is None


def named_head(model: PreTrainedModel, path: Path | None = None) -> tuple[str, nn.Linear]:
    """The head and its name. ModelError if the model has not exactly one linear layer beside its decoder, of one output."""
    import torch

    found = [(name, child) for name, child in model.named_children() if isinstance(child, torch.nn.Linear)]
    if not is_scalar(model) or len(found) != 1 or found[0][1].out_features != 1:
        raise ModelError(
            f"{type(model).__name__}{f' in {path}' if path else ''} has no single linear head with one output above its "
            "decoder; take a decoder such as Llama, Qwen or Mistral"
        )
    return found[0]


def scalar_values(model: PreTrainedModel, hidden_NH: Tensor) -> Tensor:
    """values_N of hidden states, with gradient, in float32 (float64 for a model in float64)."""
    import torch

    values_N: Tensor = named_head(model)[1](hidden_NH)[:, 0]
    return values_N if values_N.dtype == torch.float64 else values_N.float()


def config_of(model: PreTrainedModel) -> dict[str, Any]:
    """What config.json says of such a model, so that the folder loads as one."""
    return {**model.config.to_dict(), "architectures": [type(model).__name__]}
