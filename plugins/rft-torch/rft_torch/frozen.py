"""A language model that is asked and never trained, such as a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from rft_core.types import ModelRef
from rft_torch.batching import TokenRow
from rft_torch.forward import can_share_prefixes, pack
from rft_torch.models import load_model
from rft_torch.output_layer import batch_logprobs, is_plain


class FrozenModel:
    """The model at `ref`, in the dtype of `ref`. ModelError as `load_model` has it."""

    def __init__(self, ref: ModelRef) -> None:
        self.model = load_model(ref)
        self._shares = can_share_prefixes(self.model)
        self._plain = is_plain(self.model)

    @torch.no_grad()
    def logprobs(self, rows: Sequence[TokenRow], temperature: float) -> Tensor:
        """logprobs_N of the wanted tokens, in nats, ordered by row, then by position."""
        if not self._shares:
            rows = [replace(row, shared=0) for row in rows]
        batch = pack(rows, self.model.device)
        # whoever trains may compute under autocast; this model is loaded in the precision it is meant to have
        outside = torch.autocast(self.model.device.type, enabled=False)
        with outside if torch.is_autocast_enabled(self.model.device.type) else nullcontext():
            logprobs_N, _ = batch_logprobs(self.model, batch, temperature, plain=self._plain)
        return logprobs_N
