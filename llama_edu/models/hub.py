"""Models from the Hugging Face hub: out of its cache, or downloaded with huggingface_hub.

What the cache holds whole is opened without asking the hub. Else the hub is asked for the names of
the repository's files, and those of one model are downloaded: weights, configurations,
vocabularies; never code, and no pickles where there are safetensors. The library shows its progress
bars, takes up a file where its connection broke, and keeps every file that was complete.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.models.hub_cache import cache_folder, cached, endpoint, is_offline
from llama_edu.models.reference import HubReference, check_file
from llama_edu.models.weight_sets import WeightSet, set_of, weight_sets
from llama_edu.table import mib
from llama_edu.text import one_line

#: At most this many of a repository's models are named in an error; `llama-edu models` lists all.
_MOST_NAMED = 6


#: How often a file is asked for; versions of the library differ in what they try again themselves.
_TRIES = 3


class HubError(LlamaEduError):
    """A model cannot be had from the Hugging Face hub: refused, unreachable, or no room for it."""


def fetch(reference: HubReference) -> Path:
    """The file or folder of a model on the hub, from the cache or downloaded into it.

    Returns:
        A path in the cache.
    Raises:
        HubError: it is neither in the cache nor to be had; says why, and what to do.
        RequestError: the repository holds several models, or none.
    """
    here = cached(reference)
    usable = [s for s in here.sets_for(reference) if s.is_complete] if here else []
    in_cache = here.path_of(usable[0]) if here and len(usable) == 1 else None
    if in_cache and usable[0].has_vocabulary:
        return in_cache
    try:
        sizes = files_of(reference)
    except HubError:
        if in_cache:  # without a vocabulary, which the hub may not have either
            return in_cache
        if len(usable) > 1:
            _refuse_several(reference, usable, {})
        raise
    chosen = _chosen(reference, sizes)
    with _sentences(reference):
        return _download(reference, chosen)


def files_of(reference: HubReference) -> dict[str, int | None]:
    """Path -> bytes of every file of a repository, as the hub lists them.

    Raises:
        HubError: the hub cannot be asked, or has no such repository or revision.
    """
    if is_offline():
        raise HubError(
            f"{_where(reference)}: is not whole in the cache at {cache_folder()}, and "
            f"HF_HUB_OFFLINE forbids to ask the hub; unset it, or download the model elsewhere"
        )
    with _sentences(reference):
        from huggingface_hub import HfApi

        api = HfApi(endpoint=endpoint(), library_name="llama-edu")
        info = api.model_info(
            reference.repository, revision=reference.revision, files_metadata=True
        )
        return {file.rfilename: file.size for file in info.siblings or ()}


@dataclass(frozen=True)
class Offer:
    """One model of a repository: the hf:// name that chooses it.

    Attributes:
        n_bytes: of its weights; None where the hub does not say it.
        is_cached: whether all of them are in the cache.
    """

    name: str
    n_bytes: int | None
    is_cached: bool

    def __str__(self) -> str:
        size = [f"{mib(self.n_bytes)} MiB"] if self.n_bytes is not None else []
        facts = ", ".join(size + ["in the cache"] * self.is_cached)
        return one_line(self.name, 200) + (f" ({facts})" if facts else "")


def offers(
    reference: HubReference, sets: Sequence[WeightSet], sizes: Mapping[str, int | None]
) -> list[Offer]:
    """The models of a repository; `sizes` has what is known of the bytes of its files."""
    here = cached(reference)
    cached_files = here.files if here else ()
    found = []
    for each in sets:
        name = HubReference(reference.repository, reference.revision, each.chosen_by)
        known = [size for size in map(sizes.get, each.weights) if size is not None]
        n_bytes = sum(known) if len(known) == len(each.weights) else None
        is_cached = all(file in cached_files for file in each.weights)
        found.append(Offer(str(name), n_bytes, is_cached))
    return found


def _chosen(reference: HubReference, sizes: Mapping[str, int | None]) -> WeightSet:
    """The one model that a name means in a repository with these files."""
    if reference.file is not None:
        if reference.file not in sizes:
            raise RequestError(
                f"{reference}: the repository has no such file; llama-edu models "
                f"{reference.repository} lists what it holds"
            )
        chosen = set_of(sizes, reference.file)
    else:
        sets = weight_sets(sizes)
        if not sets:
            raise RequestError(
                f"{_where(reference)}: holds no weights, expected .gguf, .safetensors, "
                f"pytorch_model.bin or consolidated.00.pth among its {len(sizes)} files; check the "
                f"name"
            )
        if len(sets) > 1:
            _refuse_several(reference, sets, sizes)
        chosen = sets[0]
    if not chosen.is_complete:
        raise RequestError(
            f"{reference}: the repository lacks parts of {one_line(chosen.chosen_by)}; ask its "
            f"owner, or choose another"
        )
    return chosen


def _refuse_several(
    reference: HubReference, sets: list[WeightSet], sizes: Mapping[str, int | None]
) -> NoReturn:
    names = [str(offer) for offer in offers(reference, sets, sizes)]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    raise RequestError(
        f"{_where(reference)}: holds {len(sets)} models, expected one; give one of "
        f"{', '.join(names[:_MOST_NAMED])}{more}; llama-edu models {reference.repository} lists "
        f"them all"
    )


def _download(reference: HubReference, chosen: WeightSet) -> Path:
    """Get the files of one model that the cache does not have, the telling weights last."""
    for file in (*chosen.companions, *chosen.weights):
        check_file(file, str(reference))
        path = _download_file(reference, file)
    # the last one is in the same folder as all, however deep it lies there
    snapshot = Path(path).parents[file.count("/")]
    return snapshot / chosen.opens


def _download_file(reference: HubReference, file: str) -> str:
    """Get one file; a connection that breaks is opened again."""
    from huggingface_hub import hf_hub_download

    for tries_left in reversed(range(_TRIES)):
        try:
            return hf_hub_download(
                reference.repository,
                file,
                revision=reference.revision,
                cache_dir=cache_folder(),
                endpoint=endpoint(),
                library_name="llama-edu",
            )
        except Exception as error:
            if not (tries_left and _is_broken_connection(error)):
                raise
    raise AssertionError("the last try returns or raises")


def _is_broken_connection(error: Exception) -> bool:
    """Whether another try may help; the libraries that speak HTTP have no common class for it."""
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError | errors.EntryNotFoundError):
        return False
    return not isinstance(error, OSError) or error.errno is None


@contextmanager
def _sentences(reference: HubReference) -> Iterator[None]:
    """A block in which whatever the library raises becomes one sentence."""
    try:
        yield
    except LlamaEduError:
        raise
    except ImportError as error:
        raise HubError(
            f"{_where(reference)}: is not whole in the cache at {cache_folder()}; to download from "
            f"the hub, run: pip install huggingface_hub ({one_line(str(error))})"
        ) from None
    except Exception as error:  # of the library, or of the one that speaks HTTP for it
        raise HubError(f"{_where(reference)}: {_said(reference, error)}") from error


def _said(reference: HubReference, error: Exception) -> str:
    """The rest of a sentence about an error of the library."""
    from huggingface_hub import errors

    hub = endpoint()
    if isinstance(error, errors.GatedRepoError):
        return (
            f"is gated; accept its terms at {hub}/{reference.repository}, then log in with: "
            f"hf auth login"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{hub} has no such repository, or it is private; check the name, or log in with: "
            f"hf auth login"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {reference.revision}; check it"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "huggingface_hub was imported in offline mode; unset HF_HUB_OFFLINE and start again"
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status is not None:
        return f"{hub} answers with HTTP status {status}; try again later"
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return _said_of_the_system(cause)
    if isinstance(error, OSError) and "should be of size" in str(error):
        return "a file arrived incomplete; try again"
    return _unreachable(f"{type(error).__name__}: {error}")


def _said_of_the_system(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG):
        return (
            f"there is no room for it in {cache_folder()} ({error.strerror}); make room, or set "
            f"HF_HOME to a folder with more"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{cache_folder()} cannot be written ({error.strerror}); set HF_HOME to a folder of "
            f"your own"
        )
    return _unreachable(error.strerror or str(error))


def _unreachable(reason: str) -> str:
    return (
        f"the hub at {endpoint()} cannot be reached ({one_line(reason, 200)}); check the "
        f"connection and HF_ENDPOINT, and try again: what was complete is kept"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it, each once."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        yield current
        current = current.__cause__ or current.__context__


def _where(reference: HubReference) -> str:
    """How a message about a model on the hub begins; a name that might be a path is both."""
    if reference.is_explicit:
        return str(reference)
    name = str(reference).removeprefix("hf://")
    return f"{name}: no such file or folder here; {reference}"
