"""The entry point: load() maps a checkpoint, and Llama continues a text with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.files.detect import open_checkpoint
from llama_edu.files.layout import Checkpoint, ShardedTensor, TensorSpec
from llama_edu.files.mapped import ClosedAtExit, MappedFile
from llama_edu.files.shards import join
from llama_edu.html import facts_html
from llama_edu.matmul.arithmetic import Arithmetic, check_arithmetic, rounded_matmul
from llama_edu.matmul.choice import Kernels, check_kernels, matmul_for
from llama_edu.matmul.heap import keep_freed_memory
from llama_edu.matmul.product import blas_can_read, matmul
from llama_edu.matmul.threads import check_threads
from llama_edu.rope import rope_frequencies
from llama_edu.stated import Stated
from llama_edu.tokenizer.choice import tokenizer_for
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.transformer.access_log import NO_LOG, AccessLog
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import PREFILL_CHUNK, Generation
from llama_edu.transformer.model import Model, check_tokens, forward
from llama_edu.transformer.sampling import SamplingSettings
from llama_edu.transformer.step import step
from llama_edu.transformer.tap import Tap

if TYPE_CHECKING:
    from llama_edu.reconcile.trace import Trace


class Lab(Protocol):
    """What load() needs of a pages.PageLab, which this module does not import."""

    path: Path

    @property
    def ledger(self) -> AccessLog:
        """Where the forward pass records what it reads."""

    def view(self, tensor: TensorSpec) -> np.ndarray:
        """A read-only view of one tensor, in the lab's own mapping."""

    def check_bytes_unchanged(self) -> None:
        """Raise FormatError if the bytes of the file changed."""


@dataclass(frozen=True)
class Loading:
    """What loading cost: bytes mapped, bytes copied, and time."""

    mapped_bytes: int
    copied_bytes: int
    elapsed_s: float


def load(
    path: str | os.PathLike[str],
    mmap: bool = True,
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    kernels: Kernels = "auto",
    arithmetic: Arithmetic = "float32",
    lab: Lab | None = None,
    context: int | None = None,
    rope_theta: float | None = None,
    rope_factor: float | None = None,
    norm_eps: float | None = None,
) -> Llama:
    """Open a checkpoint of any known format, ready to generate.

    With mmap only the headers are read; every weight is a view of the file. Matrices that are split
    across several files are the exception: they are joined in memory, and `loading` counts them.

    Args:
        path: a weight file, or a folder in Meta's or Hugging Face's layout.
        mmap: False reads every weight into private memory instead, as loaders did before 2023,
            and maps nothing.
        tokenizer: a tokenizer.model, tokenizer.json or tokenizer.bin, for files that have no
            vocabulary.
        threads: the number of cores to use; None uses all that this process may run on.
        kernels: how stored weights are multiplied: "numpy"; "jit" (numba, the extra `jit`); or
            "auto", which prefills with numpy and decodes with jit where numba is installed.
        arithmetic: "int8" rounds activations before each product as llama.cpp does for these
            weights, "int4" as it did in March 2023; "float32" does not. See matmul/arithmetic.py.
        lab: a pages.PageLab on the same file; the weights are then views of its mapping, and the
            forward pass records in its ledger what it reads.
        context: the number of positions that the model can hold, where the file does not say it or
            is wrong.
        rope_theta, rope_factor: RoPE's base, and by how much the rotations are stretched.
        norm_eps: what RMSNorm adds to the mean square.
    Raises:
        FormatError: the file is not a checkpoint, or it is damaged; or the given tokenizer is not
            one. A vocabulary in the file is read when text is asked for, and reported then.
        RequestError: an impossible argument, such as a tokenizer of another size or kernels that
            cannot be used here.
    """
    start = time.perf_counter()
    keep_freed_memory()
    threads = check_threads(threads)
    check_kernels(kernels)
    stated = Stated(context, rope_theta, rope_factor, norm_eps)
    checkpoint, files = open_checkpoint(path, mmap=mmap)
    checkpoint = stated.apply(checkpoint)
    given_tokenizer = None if tokenizer is None else tokenizer_for(checkpoint, tokenizer)
    if lab is not None:
        _check_lab(lab, checkpoint, mmap)
        for file in files:
            file.close()
        files = ()
    for file in files:
        file.check_unchanged()

    def array(spec: TensorSpec) -> np.ndarray:
        if lab is not None:
            return lab.view(spec)
        file = files[spec.file]
        return file.view(spec) if mmap else file.read(spec)

    def check_files() -> None:
        for file in (lab,) if lab is not None else files if mmap else ():
            file.check_bytes_unchanged()

    weights = _Weights({n: _weight(tensor, array) for n, tensor in checkpoint.tensors.items()})
    weights.where = checkpoint.paths[0]
    check_arithmetic(arithmetic, weights.values())
    stored_divisors = checkpoint.metadata.get("rope_freqs")
    divisors = array(stored_divisors) if isinstance(stored_divisors, TensorSpec) else None
    model = Model(
        checkpoint.config,
        MappingProxyType(weights),
        rope_frequencies(checkpoint.config, divisors),
        matmul=rounded_matmul(matmul, arithmetic),
        threads=threads,
        blas_threads=threads if _all_float32(weights) else 1,
        log=lab.ledger if lab is not None else NO_LOG,
        check_files=check_files,
    )
    copied_bytes = sum(t.n_bytes for t in checkpoint.tensors.values() if not mmap or _is_cut(t))
    mapped_bytes = checkpoint.n_bytes - copied_bytes
    loading = Loading(mapped_bytes, copied_bytes, time.perf_counter() - start)
    return Llama(
        checkpoint, weights, given_tokenizer, files, loading, model, lab, kernels, arithmetic
    )


class _Weights(dict[str, np.ndarray]):
    """Name -> weight; empty when the file is closed, which is then said."""

    where: Path | None = None

    def __missing__(self, name: str) -> np.ndarray:
        if not self:
            raise RequestError(f"{self.where}: is closed; load it again")
        raise KeyError(name)


def _weight(
    tensor: TensorSpec | ShardedTensor, array: Callable[[TensorSpec], np.ndarray]
) -> np.ndarray:
    """A weight as stored, joined if it is split across several files; read-only."""
    if isinstance(tensor, TensorSpec):
        return array(tensor)
    joined = join(tensor, array)
    joined.flags.writeable = False
    return joined


def _is_cut(tensor: TensorSpec | ShardedTensor) -> bool:
    """Whether joining the tensor needs a copy; a vector that every shard repeats needs none."""
    return isinstance(tensor, ShardedTensor) and tensor.axis is not None


class Llama(ClosedAtExit):
    """An open checkpoint: its weights, its tokenizer, and what can be done with them.

    A context manager; leaving it unmaps the file. All views of weights must have been deleted by
    then.

    Attributes:
        checkpoint: where every tensor is. config: the model's sizes.
        weights: name -> read-only view of the stored numbers.
        tokenizer: text to ids and back, made when it is first asked for.
        loading: what was mapped and what was copied.
        lab: the lab whose mapping holds the weights, or None.
        model: what forward() takes. kernels, arithmetic: as given to load().
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        weights: dict[str, np.ndarray],
        tokenizer: Tokenizer | None,
        files: Sequence[MappedFile],
        loading: Loading,
        model: Model,
        lab: Lab | None = None,
        kernels: Kernels = "numpy",
        arithmetic: Arithmetic = "float32",
    ) -> None:
        self.checkpoint = checkpoint
        self.config: ModelConfig = checkpoint.config
        self._weights = weights
        self.weights: Mapping[str, np.ndarray] = model.weights
        self._tokenizer = tokenizer
        self._files = tuple(files)
        self.loading = loading
        self.kernels = kernels
        self.arithmetic = arithmetic
        self.model = self._with_kernels(model) if kernels == "jit" else model
        self.lab = lab

    @cached_property
    def decode_model(self) -> Model:
        """The model with the fastest kernels for single positions that `kernels` allows.

        Built at the first token after a prompt, because importing a compiler takes time.
        """
        return self._with_kernels(self.model)

    def _with_kernels(self, model: Model) -> Model:
        chosen = matmul_for(self.kernels, model.weights.values(), model.threads)
        if chosen is matmul:
            return model
        return replace(model, matmul=rounded_matmul(chosen, self.arithmetic))

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back, made when it is first asked for.

        Raises:
            RequestError: the model has no vocabulary and none was given, or it has more pieces
                than the model.
            FormatError: the vocabulary is damaged or of a kind that is not known here.
        """
        if self._tokenizer is None:
            self._tokenizer = tokenizer_for(self.checkpoint)
        return self._tokenizer

    def logits(self, tokens: Sequence[int], *, tap: Tap | None = None) -> np.ndarray:
        """Score every possible next token after each of the given ones.

        Args:
            tokens: T ids, BOS included where the model should see one.
            tap: sees every step, of all T positions at once, and may change it: transformer/tap.py.
        Returns:
            (T, vocab_size) float32; row t is what the model expects after tokens[: t + 1].
        Raises:
            RequestError: an unknown id, no ids, more ids than the context holds, or a tap that
                returned no array of the same shape.
            FormatError: a mapped file was cut off or written over since it was opened.
        """
        self._check_open()
        check_tokens(tokens, self.config)
        if len(tokens) > self.config.max_seq_len:
            raise RequestError(
                f"tokens: {len(tokens)} given, the model's context is {self.config.max_seq_len}"
            )
        cache = KVCache(self.config, len(tokens))
        out = np.empty((len(tokens), self.config.vocab_size), np.float32)
        n_together = len(tokens) if tap else PREFILL_CHUNK
        for start in range(0, len(tokens), n_together):
            chunk = tokens[start : start + n_together]
            with step(self.model):
                out[start : start + len(chunk)] = forward(self.model, chunk, cache, tap=tap)
        return out

    def trace(
        self,
        tokens: Sequence[int],
        names: str | Sequence[str] = "*",
        *,
        tap: Tap | None = None,
        limit_bytes: int = 2**30,
    ) -> Trace:
        """Compute a text and keep the named steps; see reconcile/trace.py.

        Args:
            tokens: T ids, BOS included where the model should see one.
            names: a step or a pattern, or several: "layers.*.weights", ["embedding", "logits"].
            tap: may change each step before it is kept.
            limit_bytes: RequestError, before anything is computed, if they would take more.
        """
        from llama_edu.reconcile.trace import trace

        self._check_open()
        return trace(self.model, tokens, names, tap=tap, limit_bytes=limit_bytes)

    def generate(
        self,
        prompt: str = "",
        n_tokens: int = 256,
        *,
        temperature: float = SamplingSettings.temperature,
        top_k: int = SamplingSettings.top_k,
        top_p: float = SamplingSettings.top_p,
        min_p: float = SamplingSettings.min_p,
        repeat_penalty: float = SamplingSettings.repeat_penalty,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Continue a prompt; yields the new text token by token as it is generated.

        Args:
            prompt: how the text begins; "" starts from BOS alone. BOS is prepended.
            n_tokens: the largest number of new tokens; the text ends earlier at EOS.
            temperature ... repeat_penalty: see SamplingSettings. temperature 0 is greedy.
            seed: the same seed gives the same text; None draws a new one.
        """
        settings = SamplingSettings(temperature, top_k, top_p, min_p, repeat_penalty)
        generation = self.generate_tokens(prompt, n_tokens, settings, seed=seed)
        return (token.text for token in generation)

    def generate_tokens(
        self,
        prompt: str | Sequence[int] = "",
        n_tokens: int = 256,
        settings: SamplingSettings | None = None,
        *,
        seed: int | np.random.Generator | None = None,
        cache: KVCache | None = None,
    ) -> Generation:
        """Continue a prompt (text, or ids with BOS); yields GeneratedToken with id and logits.

        Args:
            seed, cache: to continue where an earlier generation stopped, pass its `rng` and
                `cache` with its `tokens` as the prompt. What the cache holds is not recomputed.
        """
        self._check_open()
        tokens = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        if isinstance(seed, int) and seed < 0:
            raise RequestError(f"seed is {seed}, expected 0 or more")
        rng = np.random.default_rng(seed)
        settings = settings or SamplingSettings()
        return Generation(
            self.model, self.tokenizer, tokens, n_tokens, settings, rng,
            cache=cache, decode_model=lambda: self.decode_model,
        )  # fmt: skip

    def close(self) -> None:
        """Unmap the file. BufferError, naming the tensors, while a view of one is held."""
        self._weights.clear()
        for file in self._files:
            file.close()

    def _check_open(self) -> None:
        if not self._weights:
            raise RequestError(f"{self.checkpoint.paths[0]}: is closed; load it again")

    def __repr__(self) -> str:
        config = self.config
        return (
            f"Llama({self.checkpoint.paths[0].name!r}, {self.checkpoint.format}, "
            f"{self.checkpoint.n_parameters:,} parameters: dim {config.dim}, "
            f"{config.n_layers} layers, {config.n_heads} heads, {config.vocab_size:,} pieces)"
        )

    def _repr_html_(self) -> str:
        config = self.config
        return facts_html(
            f"Llama: {self.checkpoint.paths[0].name}",
            {
                "format": self.checkpoint.format,
                "parameters": self.checkpoint.n_parameters,
                "sizes": f"dim {config.dim}, hidden_dim {config.hidden_dim}, {config.n_layers} "
                f"layers, {config.n_heads} heads on {config.n_kv_heads} key/value heads",
                "vocabulary": f"{config.vocab_size:,} pieces",
                "context": f"{config.max_seq_len:,} tokens",
                "mapped bytes": self.loading.mapped_bytes,
                "copied bytes": self.loading.copied_bytes,
            },
        )


def _all_float32(weights: Mapping[str, np.ndarray]) -> bool:
    """Whether BLAS can read every matrix in place."""
    return all(blas_can_read(w) for w in weights.values() if w.ndim == 2)


def _check_lab(lab: Lab, checkpoint: Checkpoint, mmap: bool) -> None:
    if not mmap:
        raise RequestError("load: lab and mmap=False exclude each other; a lab observes a mapping")
    if not lab.path.samefile(checkpoint.paths[0]):
        raise RequestError(
            f"{checkpoint.paths[0]}: the lab maps {lab.path}, expected the same file in both"
        )
