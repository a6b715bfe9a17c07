"""How formats are recognized: the first bytes of files, and the names of files in a folder."""

from __future__ import annotations

GGML, GGMF, GGJT = b"lmgg", b"fmgg", b"tjgg"
GGUF = b"GGUF"

#: llama2.c since version 1; version 0 has no magic.
LLAMA2C = b"24ka"

#: Shards in a folder of Meta's layout, as a pattern for Path.glob.
META_SHARDS = "consolidated.[0-9][0-9].pth"

#: A zip, which torch has written since 1.6, and the pickled number at the start of older files.
ZIP = b"PK\x03\x04"
TORCH_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
