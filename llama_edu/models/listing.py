"""Which models are on this machine: those with a short name, and those in the hub's cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import LlamaEduError
from llama_edu.models.hub_cache import CachedRepository, cached_repositories
from llama_edu.models.known import KNOWN, KnownModel
from llama_edu.models.reference import HubReference
from llama_edu.models.weight_sets import WeightSet
from llama_edu.table import Rows


@dataclass(frozen=True)
class ListedModel(Rows):
    """A model that can be given by a name.

    Attributes:
        name: what to give. what: a few words about it, or None.
        n_bytes: of its weights, or of everything in its folder; None where it is not here.
        license: its SPDX identifier, or None where nothing here states it.
        path: where it is, or None. problem: why it cannot be opened, or None.
        how_to_get: the command that installs it, or None.
    """

    name: str
    what: str | None
    n_bytes: int | None
    license: str | None
    path: str | None
    problem: str | None = None
    how_to_get: str | None = None


def known_models() -> list[ListedModel]:
    """The models with a short name, whether they are here or not."""
    return [_listed(model) for model in KNOWN]


def models_in_cache() -> list[ListedModel]:
    """The models in the hub's cache, by name; with those of which parts are missing."""
    return [
        listed
        for reference, repository in cached_repositories()
        for listed in _of_repository(reference, repository)
    ]


def _listed(model: KnownModel) -> ListedModel:
    path, problem = None, None
    try:
        path = model.find()
    except LlamaEduError as error:
        problem = str(error)
    return ListedModel(
        model.name,
        model.description,
        model.n_bytes if path is None else _size(path),
        model.license,
        None if path is None else str(path),
        problem,
        model.how_to_get,
    )


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def _of_repository(reference: HubReference, repository: CachedRepository) -> Iterator[ListedModel]:
    sets = repository.sets_for(reference)
    for each in sets:
        yield ListedModel(
            name=_name(reference, each, is_only=len(sets) == 1),
            what=None,
            n_bytes=sum((repository.folder / file).stat().st_size for file in each.weights),
            license=None,
            path=str(repository.path_of(each)),
            problem=None if each.is_complete else "parts of it are missing",
        )


def _name(reference: HubReference, each: WeightSet, is_only: bool) -> str:
    if not is_only:
        return str(HubReference(reference.repository, reference.revision, each.chosen_by))
    return str(reference).removeprefix("hf://")
