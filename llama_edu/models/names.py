"""locate: the path that a name or a path stands for."""

from __future__ import annotations

import os
import re
from pathlib import Path

from llama_edu.errors import FormatError

#: What might be the short name of a model: one word, and no name of a file.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.\d[A-Za-z0-9_-]*)*", re.ASCII)

_LONGEST_WORD = 60

#: Suffixes of files, which no repository is taken to have without hf:// in front.
_FILE_SUFFIXES = (
    ".gguf", ".ggml", ".ggjt", ".bin", ".pt", ".pth", ".safetensors", ".json", ".model", ".txt",
    ".npy",
)  # fmt: skip


def locate(name_or_path: str | os.PathLike[str]) -> Path:
    """The path of a model that is given by its path, by a short name, or by a name on the hub.

    A path that exists always wins, so a folder called `smollm2` hides the model of this name. Only
    names on the hub cost anything: what is not in the hub's cache is downloaded into it.

    Args:
        name_or_path: a path ("~" at its start is the home folder); a name that `llama-edu models`
            lists; or `org/name`, `hf://org/name` or `hf://org/name@revision/file`. A text in which
            the part before "/" is a folder here is a path, whatever follows.
    Returns:
        A path, which need not exist: opening it reports that.
    Raises:
        FormatError: one word that is neither a path nor a known name, or a known model that is not
            installed.
        RequestError: an hf:// name that the hub does not allow, or a repository with several
            models, which are then named.
        HubError: a model on the hub that cannot be had.
    """
    text = os.fspath(name_or_path)
    path = _expanded(Path(text))
    if os.path.lexists(path):
        return path
    return _by_name(text, path)


def _by_name(text: str, path: Path) -> Path:
    """The path of a model whose name is given; `path` where it is none."""
    # a path that exists, the usual case, needs none of these
    from llama_edu.models.known import known_model
    from llama_edu.models.reference import is_explicit, parse, parse_name

    if is_explicit(text):
        from llama_edu.models.hub import fetch

        return fetch(parse(text))
    known = known_model(text)
    if known is not None:
        found = known.find()
        if found is None:
            raise FormatError(
                f"{text}: this model is not installed; get it with: {known.how_to_get}"
            )
        return found
    if text.endswith(_FILE_SUFFIXES):
        return path
    if len(text) <= _LONGEST_WORD and _WORD.fullmatch(text):
        raise FormatError(f"{text}: no such file, and no model has this name; {_known(text)}")
    reference = parse_name(text)
    if reference is not None and not os.path.lexists(text.partition("/")[0]):
        from llama_edu.models.hub import fetch

        return fetch(reference)
    return path


def _known(text: str) -> str:
    """The rest of a sentence about a word that is neither a path nor a name."""
    from llama_edu.models.known import KNOWN, closest

    *others, last = (model.name for model in KNOWN)
    names = f"{', '.join(others)} and {last}"
    near = closest(text)
    meant = f" (closest: {near})" if near else ""
    return f"known names are {names}{meant}; check the path, or see: llama-edu models"


def _expanded(path: Path) -> Path:
    """The path, with the home folder in the place of "~"; a shell leaves it in quotes."""
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        return path
