"""The libraries of the `notebooks` extra, or an error that says how to install them."""

from __future__ import annotations

import importlib
from types import ModuleType

from llama_edu.errors import LlamaEduError


def import_optional(module: str, user: str) -> ModuleType:
    """Import a module of the notebooks extra.

    Args:
        module: its name, such as "matplotlib.figure". user: what needs it, for the message.
    Raises:
        LlamaEduError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise LlamaEduError(
            f"{user}: {library} is not installed, and this part needs it; run: "
            f"pip install jupyterlab ipywidgets matplotlib"
        ) from error
