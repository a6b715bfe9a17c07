"""Which files of a repository make up one model, and which others that model needs.

A repository may hold the same model many times over: in several quantized types, as safetensors and
as pickles, in Meta's layout in a folder. Nothing here opens a file; names are all there is before a
download.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from llama_edu.models.shard_names import shard_name

#: Configurations and vocabularies that lie beside weights.
COMPANIONS = frozenset(
    {
        "config.json", "generation_config.json", "params.json",
        "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
        "chat_template.json", "model.safetensors.index.json", "pytorch_model.bin.index.json",
    }
)  # fmt: skip

#: Any of these is a vocabulary.
VOCABULARIES = frozenset({"tokenizer.json", "tokenizer.model", "vocab.json"})

_META_SHARD = re.compile(r"consolidated\.\d\d\.pth")

#: Suffixes of files that may each be a whole model.
_SINGLE = (".bin", ".pt", ".pth", ".ggml", ".ggjt")

#: What trainers leave beside a model.
_NOT_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|rng_state|adapter_)", re.IGNORECASE)


@dataclass(frozen=True)
class WeightSet:
    """The files of one model in a repository.

    Attributes:
        weights: in the order in which they are to be downloaded: the one without which the others
            are no model comes last.
        companions: configurations and vocabularies, downloaded first.
        opens: the file or the folder that is to be opened; "" is the repository's own folder.
        is_complete: whether every shard is there that the names of the others promise.
    """

    weights: tuple[str, ...]
    companions: tuple[str, ...]
    opens: str
    is_complete: bool = True

    @property
    def chosen_by(self) -> str:
        """The file that stands for this model in an hf:// name."""
        return min(self.weights)

    @property
    def has_vocabulary(self) -> bool:
        """Whether text can be turned into ids; a file alone has its vocabulary inside, or none."""
        names = {PurePosixPath(name).name for name in self.companions}
        return self.opens in self.weights or bool(VOCABULARIES & names)


def weight_sets(files: Iterable[str]) -> list[WeightSet]:
    """Every model that a repository offers, by the names of its files.

    The repository's own folder counts as one model, safetensors before pickles and Hugging Face's
    layout before Meta's; each GGUF file, with its further shards, is one, in whatever folder. Other
    weight files count where there is nothing else.
    """
    files = sorted(files)
    found = [s for s in [_folder_set(files, "")] if s]
    found += _gguf_sets(files)
    if not found:
        found = [_alone(f) for f in files if f.endswith(_SINGLE) and _is_weights(f)]
    return found


def set_of(files: Iterable[str], file: str) -> WeightSet:
    """The model to which one file of a repository belongs, or that file alone."""
    files = sorted(files)
    for candidate in (*_gguf_sets(files), _folder_set(files, _folder(file))):
        if candidate and file in candidate.weights:
            return candidate
    return _alone(file)


def _alone(file: str) -> WeightSet:
    return WeightSet((file,), (), file)


def _folder(file: str) -> str:
    folder = str(PurePosixPath(file).parent)
    return "" if folder == "." else folder


def _name(file: str) -> str:
    return PurePosixPath(file).name


def _is_weights(file: str) -> bool:
    return not _NOT_WEIGHTS.match(_name(file))


def _folder_set(files: Sequence[str], folder: str) -> WeightSet | None:
    """What one folder holds in Hugging Face's layout, or else in Meta's."""
    here = [f for f in files if _folder(f) == folder and _is_weights(f)]
    companions = tuple(f for f in here if _name(f) in COMPANIONS)
    safetensors = [f for f in here if f.endswith(".safetensors")]
    pickles = [f for f in here if re.fullmatch(r"pytorch_model.*\.bin", _name(f))]
    shards = [f for f in here if _META_SHARD.fullmatch(_name(f))]
    for weights, whole in (safetensors, "model.safetensors"), (pickles, "pytorch_model.bin"):
        if weights:
            chosen, is_complete = _whole_or_shards(weights, whole)
            return WeightSet(chosen, companions, folder, is_complete)
    if shards:
        return WeightSet(tuple(reversed(shards)), companions, folder)
    return None


def _whole_or_shards(files: Sequence[str], whole: str) -> tuple[tuple[str, ...], bool]:
    """The weights to take of a folder's: one file of this name, or all shards, or all."""
    single = [f for f in files if _name(f) == whole]
    if single:
        return tuple(single), True
    shards = [f for f in files if shard_name(_name(f))]
    if shards:
        return tuple(reversed(shards)), _all_shards(shards)
    return tuple(files), True


def _gguf_sets(files: Sequence[str]) -> list[WeightSet]:
    groups: dict[object, list[str]] = defaultdict(list)
    for file in files:
        if file.endswith(".gguf"):
            shard = shard_name(file)
            groups[shard.whole if shard else file].append(file)
    return [WeightSet(tuple(reversed(g)), (), g[0], _all_shards(g)) for g in groups.values()]


def _all_shards(files: Sequence[str]) -> bool:
    """Whether files named ...-00001-of-00003 are all there; True for a file that is no shard."""
    shards = [shard for shard in (shard_name(_name(f)) for f in files) if shard]
    return all(len(shards) == shard.n_shards for shard in shards)
