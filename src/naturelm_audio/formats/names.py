"""Names of recordings -> names of the files that are made for them: short, distinct, inside the folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

__all__ = ["output_stems"]

# Nothing that ends a name, a line or a path; on Windows also what it refuses in names.
ALSO_ON_WINDOWS = ':*?"<>|' if os.name == "nt" else ""
UNSAFE = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028\u2029\\/{ALSO_ON_WINDOWS}]")
LONGEST_STEM_BYTES = 200  # file systems take 255, and a suffix and a mark of a temporary file come on top


def output_stems(names: Iterable[str]) -> dict[str, str]:
    """Return name -> path below the output folder without the format's suffix, sub-folders mirrored.

    It is the name without its last extension. Where recordings of a folder share that (in any case, as some
    file systems do), the extension stays; what is still equal gets a hash.
    """
    whole = {name: _safe(name) for name in names}
    bare = {name: str(path.with_suffix("")) for name, path in whole.items()}
    uses = Counter(stem.casefold() for stem in bare.values())
    stems = {name: bare[name] if uses[bare[name].casefold()] == 1 else str(whole[name]) for name in whole}
    uses = Counter(stem.casefold() for stem in stems.values())
    return {
        name: stem if uses[stem.casefold()] == 1 else f"{stem}~{_hash(name)}" for name, stem in stems.items()
    }


def _safe(name: str) -> PurePosixPath:
    """Return a relative path that stays where it is put, whatever the name."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    safe = [_short(UNSAFE.sub("_", "__" if part == ".." else part), name) for part in parts]
    return PurePosixPath(*(safe or ["_"]))


def _short(part: str, name: str) -> str:
    part = part.encode("utf-8", "backslashreplace").decode("utf-8").replace("\\", "_")
    data = part.encode("utf-8")
    if len(data) <= LONGEST_STEM_BYTES:
        return part
    return (
        f"{data[:LONGEST_STEM_BYTES].decode('utf-8', 'ignore')}~{_hash(name)}{PurePosixPath(part).suffix[:8]}"
    )


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
