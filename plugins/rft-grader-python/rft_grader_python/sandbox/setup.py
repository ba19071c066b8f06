"""What the host tells a zygote when it starts it, and the limits of each fork. Plain JSON on the wire."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

TIERS = ("bubblewrap", "namespaces", "landlock")
"""From the strongest on; `none` is what a config has to ask for."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one job. Sizes hold for all its processes together, as far as the tier can see them."""

    memory_bytes: int = 2 << 30
    disk_bytes: int = 1 << 30
    """Of the private /tmp, which is also the largest file."""
    cpu_s: int = 120
    """Of one process."""
    processes: int = 32
    """Processes and threads, where the tier allows children at all."""
    open_files: int = 256


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a zygote isolates, and what it loads before it forks."""

    tier: str
    limits: Limits = field(default_factory=Limits)
    root: bool = False
    """Whether the host is root."""
    scratch: str = ""
    """Folder for the private folders of jobs, where a tier has no mounts."""
    imports: tuple[str, ...] = ()
    """Modules to import. One that does not exist is left out: the source will say so."""
    source: str | None = None
    """Module that defines `grade`."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setup:
        values = json.loads(text)
        return cls(**{**values, "limits": Limits(**values["limits"]), "imports": tuple(values["imports"])})
