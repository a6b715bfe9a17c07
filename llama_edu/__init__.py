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
