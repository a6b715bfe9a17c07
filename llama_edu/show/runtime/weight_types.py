"""One checkpoint in several weight types, each converted when it is first needed."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import cast

from llama_edu.convert import convert
from llama_edu.convert.planning import TYPES, TypeName
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.models import locate
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import score_next

#: The choices: as the file has it, or one of the types that convert() writes.
AS_STORED = "as stored"
WEIGHT_TYPES = (AS_STORED, *(name for name in TYPES if name != "keep"))


class WeightTypes:
    """Opens a checkpoint as stored, and converted copies of it.

    What was given to load() (a tokenizer, a stated context or rope_theta, threads, kernels) holds
    for the copies too, and so does the arithmetic, so that only the weights differ. A file that is
    opened here is computed in float32.

    A copy is written to a temporary folder, which is removed as soon as the file in it is mapped:
    on Linux and macOS the bytes stay until the mapping is closed, so that nothing is left behind,
    however the program ends.
    """

    def __init__(
        self, model: Llama | str | os.PathLike[str], tokenizer: str | os.PathLike[str] | None
    ) -> None:
        """Open the checkpoint as it is stored; a given Llama is not closed here.

        Raises:
            FormatError: it cannot be opened.
        """
        self._is_own = not isinstance(model, Llama)
        if isinstance(model, Llama):
            self.stored = model
        else:
            self.stored = load(model, tokenizer=tokenizer, arithmetic="float32")
        paths = self.stored.checkpoint.paths
        if not isinstance(model, Llama):
            self._source = locate(model)
        else:
            self._source = paths[0] if len(paths) == 1 else paths[0].parent
        self._converted: dict[str, Llama] = {}
        self._losses: dict[str, tuple[str, ...]] = {}
        self._readied: set[int] = set()
        self._lock = threading.Lock()

    def open(self, weights: str) -> Llama:
        """The model with this type of weights; the first call for a type converts.

        Raises:
            RequestError: an unknown type, or the model cannot be written in it.
            OSError: the temporary folder has no space.
        """
        with self._lock:
            if weights == AS_STORED:
                return self._ready(self.stored)
            if weights not in self._converted:
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                    path = Path(folder) / f"{self._source.stem}-{weights}.gguf"
                    conversion = convert(
                        self._source, path, to="gguf", type=cast(TypeName, weights),
                        tokenizer=self.stored.tokenizer_path, stated=self.stored.stated,
                        allow_requantize=True,
                    )  # fmt: skip
                    self._losses[weights] = conversion.losses
                    self._converted[weights] = load(
                        path, threads=self.stored.model.threads, kernels=self.stored.kernels,
                        arithmetic=self.stored.arithmetic,
                    )  # fmt: skip
            return self._ready(self._converted[weights])

    def _ready(self, llama: Llama) -> Llama:
        """The model, after its first single position, which may wait for a compiler.

        Without this, a comparison of speeds would depend on which model came first.
        """
        if id(llama) not in self._readied:
            score_next(llama.model, [0], KVCache(llama.config, 1))
            self._readied.add(id(llama))
        return llama

    def losses(self, weights: str) -> tuple[str, ...]:
        """Sentences on what was rounded twice on the way to this type; empty before `open`."""
        return self._losses.get(weights, ())

    def close(self) -> None:
        """Unmap what was opened here; converted copies are gone with that."""
        for llama in self._converted.values():
            llama.close()
        self._converted.clear()
        if self._is_own:
            self.stored.close()
