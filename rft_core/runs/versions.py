"""Versions of the software that a run depends on."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping

VERSIONED = (
    "rft-engine",
    "rft-workers",
    "rft-protos",
    "torch",
    "transformers",
    "peft",
    "numpy",
    "pyarrow",
    "grpcio",
    "protobuf",
)


def versions() -> Mapping[str, str]:
    """Versions of what decides a run's bits, and of Python."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
