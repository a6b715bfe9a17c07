"""What the formats are recognized by: the bytes with which files begin, and names in a folder."""

from __future__ import annotations

GGML, GGMF, GGJT = b"lmgg", b"fmgg", b"tjgg"
GGUF = b"GGUF"

#: llama2.c from version 1 on; version 0 has none.
LLAMA2C = b"24ka"

#: Shards in a folder of Meta's layout, as a pattern for Path.glob.
META_SHARDS = "consolidated.[0-9][0-9].pth"

#: A zip, which torch has written since 1.6, and the pickled number with which its files began
#: before.
ZIP = b"PK\x03\x04"
TORCH_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
