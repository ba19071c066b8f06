"""One way to turn plain values into bytes, and one digest over them.

Canonical JSON: keys sorted, no spaces, UTF-8, floats by `repr` (the shortest text that reads back to
the same double), NaN and infinities refused.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Bytes that are equal exactly when the values are. ValueError on NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
