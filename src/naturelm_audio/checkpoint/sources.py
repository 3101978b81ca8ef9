"""Where weights come from: the package, a local file or folder, or the hub through its cache.

A path never touches the network; only a name that can't be a path is looked up on the hub.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from naturelm_audio.errors import CheckpointError

BUNDLED = "naturelm-tiny"
_BUNDLED_FOLDER = Path(__file__).resolve().parents[1] / "weights" / BUNDLED
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".json", ".yaml", ".yml", ".gguf", ".ckpt")
# Everything a model folder needs; the original files of the Llama repositories would double the download.
_TEXT_FILES = ["*.json", "*.jinja", "*.txt", "*.yaml", "*.yml", "*.model"]
_WEIGHT_FILES = ["*.safetensors"]
_NEVER = ["original/*", "onnx/*", "*.gguf"]


@dataclass(frozen=True)
class Source:
    """A local file or folder, what the user called it, and the hub's revision if it came from there."""

    path: Path
    name: str
    revision: str | None = None


def locate(
    name: str | Path | None,
    *,
    beside: Path | None = None,
    revision: str | None = None,
    weights: bool = True,
    hint: str = "",
) -> Source:
    """Return the local file or folder that ``name`` means, downloaded to the hub's cache if need be.

    Args:
        name: the bundled model's name (or None), a path, or a hub id.
        beside: folder in which a relative path is looked for first, then in the working directory.
        revision: branch, tag or commit on the hub.
        weights: False to download configuration and tokenizer alone.
        hint: end of the message if it can't be found: what else the user can do.

    Raises:
        CheckpointError: it is nowhere, or not accessible.
    """
    if name is None or str(name) == BUNDLED:
        return _bundled()
    found = local_path(name, beside=beside)
    if found is not None:
        return Source(found, str(name), _revision_of(found))
    if isinstance(name, Path) or looks_like_path(name):
        relative = beside is not None and not Path(name).expanduser().is_absolute()
        places = f" (looked in {beside} and in the working directory)" if relative else ""
        raise CheckpointError(f"{name}: no such file or folder{places}{hint}")
    folder = _download(name, revision, weights=weights, hint=hint)
    return Source(folder, name, _revision_of(folder) or revision)


def local_path(name: str | Path, *, beside: Path | None = None) -> Path | None:
    """Return the existing path that ``name`` means, relative to ``beside`` first, or None."""
    given = Path(name).expanduser()
    candidates = [given] if beside is None else [beside / given, given]
    return next((path for path in candidates if path.exists()), None)


def looks_like_path(name: str) -> bool:
    """Return whether a name can only be meant as a path, so that it is never looked up on the hub."""
    if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1:
        return True
    if re.match(r"[A-Za-z]:", name):  # a drive of Windows
        return True
    parent, slash, _ = name.rpartition("/")
    return name.lower().endswith(_SUFFIXES) or (bool(slash) and Path(parent).is_dir())


def _bundled() -> Source:
    if not (_BUNDLED_FOLDER / "config.json").is_file():
        raise CheckpointError(
            f"the bundled model {BUNDLED} is missing from this installation ({_BUNDLED_FOLDER}): install the "
            "package again, or pass a local folder or hub id"
        )
    return Source(_BUNDLED_FOLDER, BUNDLED)


def _revision_of(path: Path) -> str | None:
    """Return the commit of a folder in the hub's cache, whose parent is called snapshots."""
    folder = path if path.is_dir() else path.parent
    return folder.name if folder.parent.name == "snapshots" else None


def _download(repo_id: str, revision: str | None, *, weights: bool, hint: str) -> Path:
    patterns = _TEXT_FILES + (_WEIGHT_FILES if weights else [])
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo_id, revision=revision, allow_patterns=patterns, ignore_patterns=_NEVER
            )
        )
    except HFValidationError:
        raise CheckpointError(f"{repo_id}: no such file or folder, and not a valid hub id{hint}") from None
    except GatedRepoError:
        raise CheckpointError(
            f"{repo_id}: access to this model is restricted. Accept its licence on the page of {repo_id} on "
            "the Hugging Face hub, then log in with `hf auth login` (or set HF_TOKEN)"
            f"{hint or ', or pass a local folder'}"
        ) from None
    except RevisionNotFoundError:
        raise CheckpointError(f"{repo_id}: the hub has no revision {revision!r} of it") from None
    except RepositoryNotFoundError:
        raise CheckpointError(
            f"{repo_id}: no such local file or folder, and no such model on the hub (a private one needs "
            f"`hf auth login`){hint}"
        ) from None
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, ConnectionError):
        raise CheckpointError(_offline(repo_id) + hint) from None
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise CheckpointError(f"{repo_id}: the download failed: {reason[0]}{hint}") from error


def _offline(repo_id: str) -> str:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    why = "HF_HUB_OFFLINE is set" if offline else "the hub can't be reached"
    return (
        f"{repo_id}: no such local file or folder, not (completely) in the hub's cache, and {why}: "
        f"run `hf download {repo_id}` where there is a network"
    )
