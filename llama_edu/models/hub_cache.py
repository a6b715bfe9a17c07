"""What the Hugging Face hub's cache on this machine holds, read without any library.

The cache is a folder that every program which downloads from the hub shares:

    models--org--name/refs/main               the commit that a revision meant last
    models--org--name/snapshots/COMMIT/...    its files, links to blobs/

Source: huggingface_hub, "Understand caching"; the environment variables are those of its reference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llama_edu.models.reference import HubReference, is_name
from llama_edu.models.weight_sets import WeightSet, set_of, weight_sets

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = ("1", "on", "yes", "true")


def cache_folder() -> Path:
    """Where the cache lies: HF_HUB_CACHE, or hub/ in HF_HOME, or in the user's cache."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return _expanded(os.environ[name])
    if os.environ.get("HF_HOME"):
        return _expanded(os.environ["HF_HOME"]) / "hub"
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(caches) / "huggingface" / "hub"


def is_offline() -> bool:
    """Whether the environment forbids asking the hub: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.lower() in _TRUE


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _expanded(folder: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(folder)))  # noqa: PTH111 - an unknown "~name" stays


@dataclass(frozen=True)
class CachedRepository:
    """A repository of the cache at one revision: its folder, and the files that are whole in it."""

    folder: Path
    files: tuple[str, ...]

    def sets_for(self, reference: HubReference) -> list[WeightSet]:
        """The models that a name can mean here; the parts of some may be missing."""
        if reference.file is None:
            return weight_sets(self.files)
        return [set_of(self.files, reference.file)] if reference.file in self.files else []

    def path_of(self, weight_set: WeightSet) -> Path:
        """What is to be opened."""
        return self.folder / weight_set.opens


def cached(reference: HubReference) -> CachedRepository | None:
    """What the cache has of a repository; None where it has no file of this revision."""
    storage = cache_folder() / f"models--{reference.repository.replace('/', '--')}"
    commit = reference.revision
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (storage / "refs" / reference.revision).read_text("utf-8").strip()
        except (OSError, ValueError):
            return None
    return _snapshot(storage / "snapshots" / commit) if _COMMIT.fullmatch(commit) else None


def cached_repositories() -> Iterator[tuple[HubReference, CachedRepository]]:
    """Every repository of the cache, as its branches and tags say it, by name."""
    for storage in sorted(_listed(cache_folder())):
        organization, _, name = storage.name.removeprefix("models--").partition("--")
        if not storage.name.startswith("models--") or not (is_name(organization) and is_name(name)):
            continue
        refs = storage / "refs"
        for ref in sorted(r for r in refs.rglob("*") if r.is_file()) if refs.is_dir() else ():
            revision = ref.relative_to(refs).as_posix()
            reference = HubReference(f"{organization}/{name}", revision)
            found = cached(reference)
            if found is not None:
                yield reference, found


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _snapshot(folder: Path) -> CachedRepository | None:
    """The files of one commit; a link whose blob is gone is no file."""
    files = tuple(
        (Path(where) / name).relative_to(folder).as_posix()
        for where, _, names in os.walk(folder)
        for name in names
        if (Path(where) / name).is_file()
    )
    return CachedRepository(folder, files) if files else None
