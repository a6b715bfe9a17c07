"""Convert any readable checkpoint to any format that this package writes, with `convert`.

`conversion` runs it, `planning` chooses every tensor's type, `loading` returns a tensor's data in
that type, `output_formats` lists the formats and what each can express.
"""

from llama_edu.convert.conversion import Conversion, convert

__all__ = ["Conversion", "convert"]
