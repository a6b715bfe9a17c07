"""Any readable checkpoint into any format that we write: `convert` is the way in.

`conversion` plans and runs, `targets` lists the formats with what each can express.
"""

from llama_edu.convert.conversion import Conversion, convert

__all__ = ["Conversion", "convert"]
