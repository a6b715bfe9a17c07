"""The files of weights in a folder, told by their names; the shards of one model count once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.models.shard_names import shard_name
from llama_edu.text import one_line

_ENDINGS = (".gguf", ".ggml", ".ggjt", ".safetensors")

#: At most this many are named in an error.
_MOST_NAMED = 10


@dataclass(frozen=True)
class WeightFile:
    """One file of weights, or the shards of a split one.

    Attributes:
        first: the file, or the first shard that is there.
    """

    first: Path
    n_files: int
    n_bytes: int

    def __str__(self) -> str:
        shards = f"{self.n_files} files, " if self.n_files > 1 else ""
        return f"{one_line(self.first.name)} ({shards}{self.n_bytes:,} bytes)"


def weight_files(folder: Path) -> list[WeightFile]:
    """What lies in a folder, by name; hidden files do not count.

    Raises FormatError where the folder cannot be listed.
    """
    sets: dict[object, list[tuple[Path, int]]] = defaultdict(list)
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in _ENDINGS and path.name[0] != "." and path.is_file():
                shard = shard_name(path.name)
                sets[shard.whole if shard else path.name].append((path, path.stat().st_size))
    except OSError as error:
        raise FormatError(f"{folder}: cannot be listed ({error.strerror})") from None
    return [
        WeightFile(found[0][0], len(found), sum(n_bytes for _, n_bytes in found))
        for found in sets.values()
    ]


def which_of(found: list[WeightFile]) -> str:
    """The rest of a sentence about a folder with several models in it."""
    named = ", ".join(map(str, found[:_MOST_NAMED]))
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return f"holds {len(found)} files of weights, expected one: {named}{more}; give one of them"
