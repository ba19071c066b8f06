"""What both halves of `speed.py` share: answers, time and memory of their own process. Standard library only."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROTOCOL = sys.stdout
"""Answers go here; what libraries print goes to standard error from now on."""
sys.stdout = sys.stderr


def answer(values: dict[str, Any]) -> None:
    """One line of JSON for the measuring process."""
    print(json.dumps(values), file=PROTOCOL, flush=True)


def seconds(work: Callable[[], Any], times: int) -> dict[str, float]:
    """How long `times` calls take, each: by the clock, and by the CPUs that this process was given."""
    start, spent = time.perf_counter(), time.process_time()
    for _ in range(times):
        work()
    return {"seconds": (time.perf_counter() - start) / times, "cpu_seconds": (time.process_time() - spent) / times}


def measure_memory(name: str = "now") -> dict[str, int] | Any:
    """Bytes of this process in memory: now, or the most since `hold_peak` by the name `peak`."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    resident, peak = (int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return {"peak": peak} if name == "peak" else resident


def touch(model: Any) -> None:
    """Read every weight once, so that weights mapped from a file are in memory before it is measured."""
    for parameter in model.parameters():
        parameter.detach().sum()


def same_adapter(model: Any) -> None:
    """Give the adapter's first matrices numbers that are the same on both sides, so that gradients can be compared."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_A" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5)


def hold_peak() -> None:
    """Let the peak start at what is in memory now (Linux: 5 to clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
