"""Random draws that depend on what is drawn for, and on nothing else.

One generator per (seed, recording, task): the same on any number of workers, in any order of rows, under any
hash seed of Python.
"""

from __future__ import annotations

import hashlib
import random

__all__ = ["digest", "generator"]


def digest(*keys: object) -> int:
    """Return 128 bits that only these keys decide."""
    # The length in front keeps ("ab", "c") and ("a", "bc") apart.
    joined = b"".join(len(part).to_bytes(8, "big") + part for part in (_bytes(key) for key in keys))
    return int.from_bytes(hashlib.sha256(joined).digest()[:16], "big")


def generator(*keys: object) -> random.Random:
    """Return a generator that only these keys decide."""
    return random.Random(digest(*keys))


def _bytes(key: object) -> bytes:
    return str(key).encode("utf-8", "surrogatepass")
