"""llama.cpp, watched through its evaluation callback: every tensor of its graph as it is computed.

Needs the package llama-cpp-python. llama.cpp rounds what it keeps in its cache to 16 bits unless
told otherwise, and for quantized weights it rounds every activation to 8 bits before a product.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.transformer.tap import steps_of

#: Name and operation in llama.cpp's graph -> our step. RoPE keeps the name of its input.
_IN_LAYER = {
    ("attn_norm", "MUL"): "attention_norm",
    ("Qcur", "MUL_MAT"): "q",
    ("Kcur", "MUL_MAT"): "k",
    ("Vcur", "MUL_MAT"): "v",
    ("Qcur", "ROPE"): "q_rope",
    ("Kcur", "ROPE"): "k_rope",
    ("kq", "MUL_MAT"): "scores",
    ("kq_soft_max", "SOFT_MAX"): "weights",
    ("kqv_out", "CONT"): "mixed",
    ("attn_out", "MUL_MAT"): "wo",
    ("ffn_inp", "ADD"): "attended",
    ("ffn_norm", "MUL"): "ffn_norm",
    ("ffn_gate", "MUL_MAT"): "gate",
    ("ffn_up", "MUL_MAT"): "up",
    ("ffn_swiglu", "SWIGLU"): "activated",
    ("ffn_out", "MUL_MAT"): "down",
    ("ffn_moe_probs", "SOFT_MAX"): "router",
    ("ffn_moe_argsort", "ARGSORT"): "likeliest experts first",  # no step, see _by_number
    ("ffn_moe_weights_norm", "DIV"): "shares",
    ("ffn_moe_gate", "MUL_MAT_ID"): "gate",
    ("ffn_moe_up", "MUL_MAT_ID"): "up",
    ("ffn_moe_swiglu", "SWIGLU"): "activated",
    ("ffn_moe_out", "ADD"): "down",
    ("ffn_moe_out", "CONT"): "down",  # of a single expert
    ("l_out", "ADD"): "out",
}
_OUTSIDE = {"embd": "embedding", "result_norm": "final_norm", "result_output": "logits"}

_F32, _F16, _I32 = 0, 1, 26
_CallBack = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)


class _Tensor(ctypes.Structure):
    """The first fields of struct ggml_tensor, ggml.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
    )


def steps(
    path: str | os.PathLike[str],
    config: ModelConfig,
    tokens: Sequence[int],
    *,
    exact_cache: bool = True,
) -> dict[str, np.ndarray]:
    """Every step of a GGUF file in llama.cpp on one thread, by our name and in our shape.

    Args:
        config: of the file, as we read it.
        exact_cache: keep keys and values in float32; False keeps them in float16, llama.cpp's way.
    Raises:
        RequestError: llama-cpp-python is not installed or cannot open or compute the file.
    """
    library = import_llama_cpp()
    ggml = ctypes.CDLL(str(_ggml_base(library)))
    for function in (ggml.ggml_get_name, ggml.ggml_op_desc):
        function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    ggml.ggml_backend_tensor_get.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t,
    ]  # fmt: skip
    found: dict[str, np.ndarray] = {}

    def seen(tensor: int, is_question: bool, _: object) -> bool:
        if not is_question:
            name = _our_name(ggml.ggml_get_name(tensor), ggml.ggml_op_desc(tensor))
            if name is not None:
                found[name] = _in_our_shape(name, _numbers(ggml, tensor), config)
        return True

    with _decoded(library, path, tokens, seen, exact_cache):
        pass
    if config.n_experts:
        _by_number(found, config)
    return {name: found[name] for name in steps_of(config) if name in found}


def logits(path: str | os.PathLike[str], tokens: Sequence[int]) -> np.ndarray:
    """(T, vocab_size) float32 by llama.cpp on one thread, with keys and values in float32."""
    library = import_llama_cpp()
    with _decoded(library, path, tokens, None, True) as context:
        n_vocab = library.llama_vocab_n_tokens(
            library.llama_model_get_vocab(library.llama_get_model(context))
        )
        scores = library.llama_get_logits(context)
        return np.ctypeslib.as_array(scores, (len(tokens), n_vocab)).copy()


def import_llama_cpp() -> Any:
    """The low-level module, silenced. RequestError where it is not installed."""
    try:
        from llama_cpp import llama_cpp as library
    except ImportError:
        raise RequestError(
            "llama.cpp is not installed; run: pip install llama-cpp-python"
        ) from None
    library.llama_log_set(_silence, None)
    return library


_silence = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
    lambda level, text, data: None
)


def _ggml_base(library: Any) -> Path:
    folder = Path(library.__file__).parent / "lib"
    names = ("libggml-base.so", "libggml-base.dylib", "ggml-base.dll")
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise RequestError(f"{folder}: has none of {', '.join(names)}; install llama-cpp-python again")


@contextmanager
def _decoded(
    library: Any,
    path: str | os.PathLike[str],
    tokens: Sequence[int],
    seen: Callable[[int, bool, object], bool] | None,
    exact_cache: bool,
) -> Iterator[Any]:
    """A context that has read the tokens in one batch, and scored each of them."""
    model = library.llama_model_load_from_file(
        os.fsencode(path), library.llama_model_default_params()
    )
    if not model:
        raise RequestError(f"{path}: llama.cpp cannot open it, expected a GGUF file that it knows")
    settings = library.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = max(64, len(tokens))
    settings.n_threads = settings.n_threads_batch = 1
    settings.flash_attn_type = 0  # off: it keeps no scores
    settings.type_k = settings.type_v = _F32 if exact_cache else _F16
    callback = None if seen is None else _CallBack(seen)
    if callback is not None:
        settings.cb_eval = ctypes.cast(callback, type(settings.cb_eval))
    context = library.llama_init_from_model(model, settings)
    batch = library.llama_batch_init(len(tokens), 0, 1)
    try:
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = int(token), i, 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        if not context or library.llama_decode(context, batch):
            raise RequestError(f"{path}: llama.cpp cannot compute {len(tokens)} tokens")
        yield context
    finally:
        library.llama_batch_free(batch)
        if context:
            library.llama_free(context)
        library.llama_model_free(model)


def _our_name(name: bytes, operation: bytes) -> str | None:
    name_there, _, layer = name.decode().rpartition("-")
    if layer.isdigit():
        step = _IN_LAYER.get((name_there, operation.decode()))
        return None if step is None else f"layers.{int(layer)}.{step}"
    return _OUTSIDE.get(name.decode())


def _numbers(ggml: Any, address: int) -> np.ndarray:
    """A copy of a contiguous tensor with its axes in numpy's order: 3 of them, or 2."""
    tensor = _Tensor.from_address(address)
    shape = tuple(tensor.ne)[::-1]
    if tensor.type not in (_F32, _I32) or tensor.nb[0] != 4:
        raise RequestError(f"llama.cpp: a step of type {tensor.type}, expected float32")
    numbers = np.empty(shape, np.float32 if tensor.type == _F32 else np.int32)
    ggml.ggml_backend_tensor_get(address, numbers.ctypes.data, 0, numbers.nbytes)
    return numbers.reshape(shape[1:] if shape[1] > 1 else shape[2:])


def _in_our_shape(name: str, x: np.ndarray, config: ModelConfig) -> np.ndarray:
    step = name.rpartition(".")[2]
    if step[0] in "qkv":
        n_heads = config.n_heads if step[0] == "q" else config.n_kv_heads
        return x.reshape(-1, n_heads, config.head_dim)
    if step in ("scores", "weights"):
        T = x.shape[-2]
        x = x[..., :T].copy()  # the cache is longer than the text
        if step == "scores":  # not scaled yet, and nothing is hidden yet
            x *= np.float32(config.head_dim**-0.5)
            x[:, np.triu(np.ones((T, T), bool), 1)] = -np.inf
    return x


def _by_number(found: dict[str, np.ndarray], config: ModelConfig) -> None:
    """Put what the chosen experts computed into our order: there the likeliest comes first."""
    for i in range(config.n_layers):
        order = found.pop(f"layers.{i}.likeliest experts first")
        rank = order[:, : config.n_experts_per_token].argsort(axis=1)
        for step in ("shares", "gate", "up", "activated"):
            name = f"layers.{i}.{step}"
            x = found[name].reshape(*rank.shape, -1)
            shape = rank.shape if step == "shares" else x.shape
            found[name] = np.take_along_axis(x, rank[..., np.newaxis], axis=1).reshape(shape)
