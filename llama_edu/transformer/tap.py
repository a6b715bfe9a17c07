"""The tap: a function that sees every named step of forward() and may return another array.

    def tap(name, x):          # name: "layers.2.scores"; x: (n_heads, T, S) float32
        return x               # or what the computation is to go on with

FIRST, IN_LAYER and LAST are the one list of the steps: their shapes, and what two other programs
call them. In a model with experts, ROUTED stands in the place of three of them.
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
#: In a model with experts: what each position's k experts compute, the lowest number first.
ROUTED = (
    Step("router", ("T", "n_experts"), "softmax over the experts", "mlp.gate", "ffn_moe_probs"),
    Step("shares", ("T", "k"), "of the k largest, sum 1", "mlp.gate[1]", "ffn_moe_weights_norm"),
    Step("gate", ("T", "k", "hidden_dim"), "products with w_gate", "", "ffn_moe_gate"),
    Step("up", ("T", "k", "hidden_dim"), "products with w_up", "", "ffn_moe_up"),
    Step("activated", ("T", "k", "hidden_dim"), "act(gate) * up", "", "ffn_moe_swiglu"),
    Step("down", ("T", "dim"), "sum of share * w_down's", "mlp", "ffn_moe_out"),
)
LAST = (
    Step("final_norm", ("T", "dim"), "x, normalized", "model.norm", "result_norm"),
    Step("logits", ("T", "vocab_size"), "a score for each token", "lm_head", "result_output"),
)

#: Axes whose letter is not the name of a size.
_LETTERS = {"k": "n_experts_per_token"}


def in_layer_steps(*, experts: bool) -> tuple[Step, ...]:
    """The steps of one layer in the order of the computation, of a model with experts or without.

    An expert's gate has another shape than that of a model without any.
    """
    if not experts:
        return IN_LAYER
    start = next(i for i, step in enumerate(IN_LAYER) if step.name == "gate")
    return (*IN_LAYER[:start], *ROUTED, *IN_LAYER[start + 4 :])


def step_names(n_layers: int, *, experts: bool = False) -> list[str]:
    """Every step of a model in the order of the computation: "embedding", "layers.0.q" ..."""
    inside = [
        f"layers.{layer}.{step.name}"
        for layer in range(n_layers)
        for step in in_layer_steps(experts=experts)
    ]
    return [*(step.name for step in FIRST), *inside, *(step.name for step in LAST)]


def steps_of(config: ModelConfig) -> list[str]:
    """Every step of the model of these sizes."""
    return step_names(config.n_layers, experts=config.n_experts > 0)


def step_shape(name: str, config: ModelConfig, n_positions: int) -> tuple[int, ...]:
    """The shape of one step of a text that is computed from its start, all positions at once."""
    steps = (*FIRST, *in_layer_steps(experts=config.n_experts > 0), *LAST)
    axes = next(step.shape for step in steps if step.name == name.rpartition(".")[2])
    return tuple(
        n_positions if a in ("T", "S") else getattr(config, _LETTERS.get(a, a)) for a in axes
    )


def steps_table() -> str:
    """The lists as text: name, the names in transformers and llama.cpp, shape, and meaning."""
    heads = ("step", "transformers", "llama.cpp", "shape", "meaning")

    def table(*lists: tuple[str, tuple[Step, ...]]) -> str:
        rows = [
            (
                prefix + step.name,
                step.transformers or "-",
                step.llama_cpp,
                f"({', '.join(step.shape)})",
                step.meaning,
            )
            for prefix, steps in lists
            for step in steps
        ]
        return lay_out(heads, rows, "<")

    return "\n".join(
        [
            table(("", FIRST), ("layers.N.", IN_LAYER), ("", LAST)),
            "",
            "in a model with experts, k for each position, in the place of gate to down:",
            "",
            table(("layers.N.", ROUTED)),
        ]
    )


def untouched(name: str, x: np.ndarray) -> np.ndarray:
    """The tap of a computation without a tap: every step as it is."""
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
