"""The tap: a function that sees every named step of forward() and may return another array.

    def tap(name, x):          # name: "layers.2.scores"; x: (n_heads, T, S) float32
        return x               # or what the computation is to go on with

FIRST, IN_LAYER and LAST are the one list of the steps: their shapes, and what two other programs
call them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.table import lay_out

#: (name, numbers) -> the numbers to go on with, of the same shape. The array is the tap's to change
#: in place; to keep it for later, copy it.
Tap = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Step:
    """One step of the computation.

    Attributes:
        name: as the tap gets it; inside a layer, "layers.N." stands in front.
        shape: its axes: T positions, of which the last sees S, and sizes of the model.
        meaning: what the numbers are.
        transformers: the module of LlamaForCausalLM whose output it is; "in:" before one whose
            input it is; "" where no hook sees it. Inside a layer "model.layers.N." stands in front.
        llama_cpp: the tensor in llama.cpp's graph. Inside a layer, "-N" stands behind.
    """

    name: str
    shape: tuple[str, ...]
    meaning: str
    transformers: str
    llama_cpp: str


#: Before the layers, in each layer, and after them, in the order of the computation.
FIRST = (Step("embedding", ("T", "dim"), "rows of the tokens", "model.embed_tokens", "embd"),)
IN_LAYER = (
    Step("attention_norm", ("T", "dim"), "x, normalized", "input_layernorm", "attn_norm"),
    Step("q", ("T", "n_heads", "head_dim"), "queries", "self_attn.q_proj", "Qcur"),
    Step("k", ("T", "n_kv_heads", "head_dim"), "keys", "self_attn.k_proj", "Kcur"),
    Step("v", ("T", "n_kv_heads", "head_dim"), "values", "self_attn.v_proj", "Vcur"),
    Step("q_rope", ("T", "n_heads", "head_dim"), "queries, rotated", "", "Qcur, the second"),
    Step("k_rope", ("T", "n_kv_heads", "head_dim"), "keys, rotated", "", "Kcur, the second"),
    Step("scores", ("n_heads", "T", "S"), "q k / sqrt(head_dim), or -inf", "", "kq, unscaled"),
    Step("weights", ("n_heads", "T", "S"), "softmax of the scores", "self_attn[1]", "kq_soft_max"),
    Step("mixed", ("T", "q_dim"), "values, by weight", "in: self_attn.o_proj", "kqv_out"),
    Step("wo", ("T", "dim"), "what attention adds to x", "self_attn.o_proj", "attn_out"),
    Step("attended", ("T", "dim"), "x after it", "in: post_attention_layernorm", "ffn_inp"),
    Step("ffn_norm", ("T", "dim"), "that, normalized", "post_attention_layernorm", "ffn_norm"),
    Step("gate", ("T", "hidden_dim"), "product with w_gate", "mlp.gate_proj", "ffn_gate"),
    Step("up", ("T", "hidden_dim"), "product with w_up", "mlp.up_proj", "ffn_up"),
    Step("activated", ("T", "hidden_dim"), "act(gate) * up", "in: mlp.down_proj", "ffn_swiglu"),
    Step("down", ("T", "dim"), "what feed-forward adds to x", "mlp.down_proj", "ffn_out"),
    Step("out", ("T", "dim"), "x after the layer", "the layer itself", "l_out"),
)
LAST = (
    Step("final_norm", ("T", "dim"), "x, normalized", "model.norm", "result_norm"),
    Step("logits", ("T", "vocab_size"), "a score for each token", "lm_head", "result_output"),
)

_SHAPES = {step.name: step.shape for step in (*FIRST, *IN_LAYER, *LAST)}


def step_names(n_layers: int) -> list[str]:
    """Every step of a model in the order of the computation: "embedding", "layers.0.q" ..."""
    inside = [f"layers.{layer}.{step.name}" for layer in range(n_layers) for step in IN_LAYER]
    return [*(step.name for step in FIRST), *inside, *(step.name for step in LAST)]


def step_shape(name: str, config: ModelConfig, n_positions: int) -> tuple[int, ...]:
    """The shape of one step of a text that is computed from its start, all positions at once."""
    axes = _SHAPES[name.rpartition(".")[2]]
    return tuple(n_positions if a in ("T", "S") else getattr(config, a) for a in axes)


def steps_table() -> str:
    """The list as text: name, shape, meaning, and the names in transformers and llama.cpp."""
    rows = [
        (
            prefix + step.name,
            f"({', '.join(step.shape)})",
            step.meaning,
            step.transformers or "-",
            step.llama_cpp,
        )
        for prefix, steps in (("", FIRST), ("layers.N.", IN_LAYER), ("", LAST))
        for step in steps
    ]
    return lay_out(("step", "shape", "meaning", "transformers", "llama.cpp"), rows, "<")


def untouched(name: str, x: np.ndarray) -> np.ndarray:
    """The tap of a computation that nobody looks at."""
    return x


def checked(tap: Tap | None) -> Tap:
    """The tap, with what it returns made float32; RequestError where it is no array like x."""
    if tap is None:
        return untouched
    given = tap

    def see(name: str, x: np.ndarray) -> np.ndarray:
        shape = x.shape
        found = given(name, x)
        if not isinstance(found, np.ndarray) or found.shape != shape:
            what = f"shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
            raise RequestError(
                f"tap: returned {what} for {name}, expected an array of shape {shape}; return x "
                f"where nothing is to change"
            )
        return np.ascontiguousarray(found, np.float32)

    return see


def in_layer(see: Tap, layer: int) -> Tap:
    """The same tap for the steps of one layer, which name themselves without it."""
    if see is untouched:
        return untouched
    return lambda name, x: see(f"layers.{layer}.{name}", x)
