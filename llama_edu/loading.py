"""load(): map a checkpoint, and make a Llama of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.detect import open_checkpoint
from llama_edu.files.layout import Checkpoint, ShardedTensor, TensorSpec
from llama_edu.files.mapped import MappedFile
from llama_edu.files.parts.shards import join
from llama_edu.llama import Lab, Llama, Loading
from llama_edu.matmul.arithmetic import ArithmeticChoice, check_arithmetic
from llama_edu.matmul.choice import Kernels, check_kernels
from llama_edu.matmul.heap import keep_freed_memory
from llama_edu.matmul.product import blas_can_read
from llama_edu.matmul.threads import check_threads
from llama_edu.models import locate
from llama_edu.rope import rope_frequencies
from llama_edu.stated import Stated
from llama_edu.tokenizer.choice import tokenizer_for
from llama_edu.transformer.access_log import NO_LOG
from llama_edu.transformer.model import Model


def load(
    path: str | os.PathLike[str],
    mmap: bool = True,
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    kernels: Kernels = "auto",
    arithmetic: ArithmeticChoice = "auto",
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
        path: a weight file; a folder in Meta's or Hugging Face's layout; or a name: "smollm2",
            "org/name" on the Hugging Face hub, or "hf://org/name/file.gguf" (`models.locate`). What
            exists as a path is never taken for a name.
        mmap: False reads every weight into private memory instead, as loaders did before 2023,
            and maps nothing.
        tokenizer: a tokenizer.model, tokenizer.json or tokenizer.bin, for files that have no
            vocabulary.
        threads: the number of cores to use; None uses all that this process may: by affinity, by
            the quota of its control group, by OMP_NUM_THREADS.
        kernels: how stored weights are multiplied: "numpy"; "jit" (numba, the extra `jit`); or
            "auto", which is jit where numba is installed. numba is
            imported when something is computed for the first time; for "jit", now.
        arithmetic: "float32" multiplies by the numbers as they are. "int8" rounds them before each
            product as llama.cpp does for these weights, and multiplies integers where the
            processor can; "int4" rounds as it did in March 2023. See matmul/arithmetic.py.
            "auto" is "int8" where that is faster: for quantized weights (and bf16), with jit, on
            a processor with the instructions; `Llama.arithmetic` says what it became. So the
            same file gives other logits, by about a hundredth, and other texts where numba is
            missing or the processor is another; "float32" gives the same everywhere, up to
            rounding. With a lab, or kernels="numpy", "auto" is "float32".
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
    given_tokenizer = None if tokenizer is None else tokenizer_for(checkpoint, locate(tokenizer))
    if lab is not None:
        _check_lab(lab, checkpoint, mmap)
        for file in files:
            file.close()
        files = ()
    for file in files:
        file.check_unchanged()

    array = _array_of(files, lab, mmap)
    weights = _Weights({n: _weight(tensor, array) for n, tensor in checkpoint.tensors.items()})
    weights.where = checkpoint.paths[0]
    check_arithmetic(arithmetic, weights.values())
    model = Model(
        checkpoint.config,
        MappingProxyType(weights),
        _frequencies(checkpoint, array),
        threads=threads,
        blas_threads=threads if _all_float32(weights) else 1,
        log=lab.ledger if lab is not None else NO_LOG,
        check_files=_check_of(files, lab, mmap),
    )
    copied_bytes = sum(t.n_bytes for t in checkpoint.tensors.values() if not mmap or _is_cut(t))
    mapped_bytes = checkpoint.n_bytes - copied_bytes
    loading = Loading(mapped_bytes, copied_bytes, time.perf_counter() - start)
    return Llama(
        checkpoint, weights, given_tokenizer, files, loading, model, lab, kernels,
        arithmetic="float32" if lab is not None and arithmetic == "auto" else arithmetic,
        stated=stated,
        tokenizer_path=None if tokenizer is None else Path(tokenizer),
    )  # fmt: skip


class _Weights(dict[str, np.ndarray]):
    """Name -> weight; empty when the file is closed, which is then said."""

    where: Path | None = None

    def __missing__(self, name: str) -> np.ndarray:
        if not self:
            raise RequestError(f"{self.where}: is closed; load it again")
        raise KeyError(name)


def _array_of(
    files: Sequence[MappedFile], lab: Lab | None, mmap: bool
) -> Callable[[TensorSpec], np.ndarray]:
    """The function that gives the array of a tensor: a view of the lab or of a file, or a copy."""
    if lab is not None:
        return lab.view
    if mmap:
        return lambda spec: files[spec.file].view(spec)
    return lambda spec: files[spec.file].read(spec)


def _check_of(files: Sequence[MappedFile], lab: Lab | None, mmap: bool) -> Callable[[], None]:
    """The function that raises FormatError where the bytes behind views changed."""
    mapped = (lab,) if lab is not None else files if mmap else ()

    def check_files() -> None:
        for file in mapped:
            file.check_bytes_unchanged()

    return check_files


def _frequencies(checkpoint: Checkpoint, array: Callable[[TensorSpec], np.ndarray]) -> np.ndarray:
    """RoPE's radians per position, divided by what the file stores for it, if anything."""
    stored = checkpoint.metadata.get("rope_freqs")
    divisors = array(stored) if isinstance(stored, TensorSpec) else None
    return rope_frequencies(checkpoint.config, divisors)


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
