"""The names of the files of a split model: model-00001-of-00003.gguf.

llama.cpp and Hugging Face name their shards alike. No file is opened here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})(\.\w+)?", re.DOTALL)


class ShardName(NamedTuple):
    """The name, or the path, of one shard, taken apart.

    Attributes:
        stem: what stands before the numbers. number: of this shard, from 1. n_shards: of all.
        ending: such as ".gguf", or "".
    """

    stem: str
    number: int
    n_shards: int
    ending: str

    @property
    def whole(self) -> tuple[str, int, str]:
        """What all shards of one model have in common."""
        return self.stem, self.n_shards, self.ending

    def all_names(self) -> list[str]:
        """The names of all shards of this model, in order."""
        return [
            f"{self.stem}-{number:05d}-of-{self.n_shards:05d}{self.ending}"
            for number in range(1, self.n_shards + 1)
        ]


def shard_name(name: str) -> ShardName | None:
    """A name taken apart; None for a name that is not that of a shard."""
    found = _NAME.fullmatch(name)
    return found and ShardName(found[1], int(found[2]), int(found[3]), found[4] or "")
