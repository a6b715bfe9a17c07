"""The models in a folder: recognized by content, one level deep, without reading a weight."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.layout import Checkpoint
from llama_edu.text import one_line

#: No more entries of one folder are looked at, because each costs reading a header.
MOST_ENTRIES = 200


@dataclass(frozen=True)
class FoundModel:
    """A file or folder that can be opened.

    Attributes:
        line: its name, format and size, for a list.
    """

    path: Path
    line: str


def _is_only_a_file(checkpoint: Checkpoint) -> bool:
    """Whether a folder was read as the one file in it, which says as much without the folder."""
    if len(checkpoint.paths) > 1:
        return False
    try:
        return read_checkpoint(checkpoint.paths[0]).format == checkpoint.format
    except LlamaEduError:
        return False


def found_models(folder: str | os.PathLike[str]) -> list[FoundModel]:
    """The models in a folder, by name; first the folder itself, if it is a model in several files.

    Raises:
        RequestError: the folder does not exist or cannot be listed.
    """
    folder = Path(folder).expanduser()
    try:
        entries = sorted(folder.iterdir())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"{folder}: {reason}; give a folder that has models in it") from error
    found = []
    for path in [folder, *entries[:MOST_ENTRIES]]:
        try:
            if not (path.is_file() or path.is_dir()):
                continue  # reading a pipe or a device might never end
            checkpoint = read_checkpoint(path)
            if path == folder and _is_only_a_file(checkpoint):
                continue  # which is listed itself
        except (LlamaEduError, OSError):
            continue
        line = f"{one_line(path.name)}: {checkpoint.format}, {checkpoint.n_parameters:,} parameters"
        found.append(FoundModel(path, line))
    return found
