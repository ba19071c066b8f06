"""A device without enough memory: one sentence."""

import pytest
import torch

from rft_core.errors import ComponentError
from rft_torch.memory import enough_memory


def test_too_little_memory_is_a_sentence() -> None:
    """Torch's figures without its advice on allocators, then ours; other errors pass."""
    said = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.11 GiB is "
        "free. Of the allocated memory 70 GiB is allocated by PyTorch. If reserved but unallocated memory is large try"
    )
    with pytest.raises(ComponentError) as raised, enough_memory("a training step", "Lower it."):
        raise torch.OutOfMemoryError(said)
    assert str(raised.value) == (
        "the device has too little memory for a training step: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has "
        "a total capacity of 79.10 GiB of which 1.11 GiB is free. Lower it."
    )
    with pytest.raises(RuntimeError, match="shapes"), enough_memory("a training step", "Lower it."):
        raise RuntimeError("shapes")
