"""How a language model runs from a memory-mapped file, in readable numpy.

    >>> import llama_edu
    >>> with llama_edu.load(llama_edu.bundled_checkpoint()) as llama:
    ...     story = "".join(llama.generate("Once upon a time", seed=1))

`load` opens any known checkpoint; everything else lives in the rooms: `files` (bytes on disk),
`transformer` (arrays to text), `pages` (what that computation touched), `show` (widgets, figures).
"""

from llama_edu.bundled import bundled_checkpoint
from llama_edu.config import ModelConfig
from llama_edu.errors import LlamaEduError
from llama_edu.llama import Llama, load

__all__ = ["Llama", "LlamaEduError", "ModelConfig", "bundled_checkpoint", "load"]
__version__ = "0.1.0"


def load_ipython_extension(shell) -> None:
    """What %load_ext llama_edu does: add the magics %pages and %faults."""
    from llama_edu.show.magics import PageMagics

    shell.register_magics(PageMagics)


def unload_ipython_extension(shell) -> None:
    """What %unload_ext llama_edu does: take the magics away again."""
    from llama_edu.show.magics import NAMES

    for kind in shell.magics_manager.magics.values():
        for name in NAMES:
            kind.pop(name, None)
