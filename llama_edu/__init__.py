"""How a language model runs from a memory-mapped file, in readable numpy.

    >>> import llama_edu
    >>> with llama_edu.load(llama_edu.bundled_checkpoint()) as llama:
    ...     story = "".join(llama.generate("Once upon a time", seed=1))

`load` opens any known checkpoint. The main packages below it: `files` (bytes on disk),
`transformer` (arrays to text), `pages` (what that computation touched), `show` (widgets, figures).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_edu.bundled import bundled_checkpoint
    from llama_edu.config import ModelConfig
    from llama_edu.errors import LlamaEduError
    from llama_edu.llama import Llama
    from llama_edu.loading import load

__all__ = ["Llama", "LlamaEduError", "ModelConfig", "bundled_checkpoint", "load"]
__version__ = "0.1.0"

#: Public name -> module that defines it. Each is imported when its name is first used, because
#: every `import llama_edu.something` runs this file first, and most need none of these names.
_HOMES = {
    "Llama": "llama_edu.llama",
    "LlamaEduError": "llama_edu.errors",
    "ModelConfig": "llama_edu.config",
    "bundled_checkpoint": "llama_edu.bundled",
    "load": "llama_edu.loading",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use; from then on it is an ordinary attribute."""
    if name not in _HOMES:
        raise AttributeError(f"module 'llama_edu' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def load_ipython_extension(shell: Any) -> None:
    """Called by %load_ext llama_edu: add the magics %pages and %faults."""
    from llama_edu.show.magics import PageMagics

    shell.register_magics(PageMagics)


def unload_ipython_extension(shell: Any) -> None:
    """Called by %unload_ext llama_edu: remove the magics."""
    from llama_edu.show.magics import NAMES

    for kind in shell.magics_manager.magics.values():
        for name in NAMES:
            kind.pop(name, None)
