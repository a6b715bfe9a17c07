"""The model that a notebook works with: chosen by name, as one file that can be mapped."""

from __future__ import annotations

import os
from pathlib import Path

from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.errors import LlamaEduError
from llama_edu.files.detect import read_checkpoint
from llama_edu.models import locate
from llama_edu.models.known import known_model


def course_model(name: str | os.PathLike[str]) -> Path:
    """The absolute path of a model; where one with a short name is missing, of the bundled one.

    The latter is said in a printed sentence, with how to get the model that is missing.

    Args:
        name: as for load().
    Raises:
        LlamaEduError: there is no such name or path, or a repository cannot be had.
    """
    known = None if os.path.lexists(name) else known_model(os.fspath(name))
    if known is None or known.find() is not None:
        return locate(name).absolute()
    print(
        f"{known.name} is not installed; get it with: {known.how_to_get}\n"
        f"Until then the cells below run on the bundled model, stories, and not all that is "
        f"written between them fits it."
    )
    return bundled_checkpoint()


def one_file(model: str | os.PathLike[str], folder: str | os.PathLike[str] = ".") -> Path:
    """A weight file that holds the whole model: its own, or one that is written to a folder.

    Args:
        model: a path. folder: where the file is written if the model lies in several files, as
            ggjt, the format of 2023; as GGUF where that has no field for a property of the model.
    Raises:
        LlamaEduError: the model cannot be opened or converted.
    """
    model = Path(model)
    paths = read_checkpoint(model).paths
    if len(paths) == 1:
        return paths[0]
    written = Path(folder) / f"{model.resolve().name}.ggjt"
    try:
        convert(model, written, to="ggjt-v1", type="keep")
    except LlamaEduError:
        written = written.with_suffix(".gguf")
        convert(model, written, to="gguf", type="keep")
    return written
