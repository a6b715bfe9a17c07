"""Any readable checkpoint into any format that we write: `convert` is the way in.

`conversion` runs it, `planning` chooses every tensor's type, `loading` gives a tensor's data in
that type, `output_formats` lists the formats with what each can express.
"""

from llama_edu.convert.conversion import Conversion, convert

__all__ = ["Conversion", "convert"]
