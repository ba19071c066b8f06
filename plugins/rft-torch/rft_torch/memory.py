"""A device without enough memory, in a sentence that says what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rft_core.errors import ComponentError


@contextmanager
def enough_memory(what: str, advice: str) -> Iterator[None]:
    """ComponentError with the figures torch gives and `advice`, if the device has no room for what is done inside."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        figures = str(error).split(" Of the allocated memory")[0].strip()
        raise ComponentError(f"the device has too little memory for {what}: {figures} {advice}") from error
