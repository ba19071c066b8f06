"""How settings are laid over others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(base: Any, over: Any) -> Any:
    """Deep merge; a component of another `type` replaces the whole component, and null removes."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    if "type" in over and over["type"] != base.get("type"):
        return dict(over)
    return {
        key: merge(base[key], over[key]) if key in base and key in over else over.get(key, base.get(key))
        for key in (*base, *(k for k in over if k not in base))
    }
