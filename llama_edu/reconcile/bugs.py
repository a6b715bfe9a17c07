"""Bugs to plant: mistakes that were made in loaders and forward passes, a few lines each.

A bug of code is a tap that computes one step wrongly, or a model with a wrong setting; a bug of
weights is a model with other weights. Nothing is patched: the same forward() runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.quants.blocks import dequantize
from llama_edu.transformer import kernels
from llama_edu.transformer.model import ROPE, Model
from llama_edu.transformer.tap import Tap

#: (the step computed rightly, the steps of this layer so far) -> the step computed wrongly.
_Change = Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Planted:
    """A model with a bug; run it with the tap, on texts from their start.

    Attributes:
        first: the first step that is wrong.
    """

    model: Model
    tap: Tap | None
    first: str


@dataclass(frozen=True)
class Bug:
    """A bug that can be planted.

    Attributes:
        breaks: what is wrong, in a sentence.
        plant: model -> Planted.
    """

    name: str
    breaks: str
    plant: Callable[[Model], Planted]


def plant(name: str, model: Model) -> Planted:
    """The model with one of BUGS in it. RequestError, with a list of all, for another name."""
    if name not in BUGS:
        raise RequestError(f"bug {name!r}: expected one of {', '.join(BUGS)}")
    return BUGS[name].plant(model)


# --- of code ------------------------------------------------------------------------------------


def _steps(first: str, **changes: _Change) -> Callable[[Model], Planted]:
    """A bug that computes these steps wrongly in every layer."""

    def planted(model: Model) -> Planted:
        seen: dict[str, np.ndarray] = {}

        def tap(name: str, x: np.ndarray) -> np.ndarray:
            step = name.rpartition(".")[2]
            if step in changes:
                x = changes[step](x, seen)
            seen[step] = x
            return x

        return Planted(model, tap, f"layers.0.{first}")

    return planted


def _with(first: str, change: Callable[[Model], dict[str, Any]]) -> Callable[[Model], Planted]:
    """A bug in a model's settings: change gives the fields of ModelConfig that are wrong."""
    return lambda m: Planted(replace(m, config=replace(m.config, **change(m))), None, first)


def _other_pairing(model: Model) -> dict[str, Any]:
    interleaved = model.config.rope_pairing == "interleaved"
    return {"rope_pairing": "halves" if interleaved else "interleaved"}


def _other_base(model: Model) -> Planted:
    n = len(model.frequencies)
    frequencies = model.frequencies * 2.0 ** (-np.arange(n) / n)  # those of a base twice as large
    return Planted(replace(model, frequencies=frequencies), None, "layers.0.q_rope")


def _backwards(model: Model) -> Planted:
    return Planted(replace(model, frequencies=-model.frequencies), None, "layers.0.q_rope")


def _positions_off(model: Model) -> Planted:
    def turned(step: str) -> _Change:
        def change(x: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
            positions = np.arange(len(x))
            positions[len(x) // 2 :] += 1
            rotations = kernels.rope_rotations(positions, model.frequencies)
            return ROPE[model.config.rope_pairing](seen[step], rotations)

        return change

    return _steps("q_rope", q_rope=turned("q"), k_rope=turned("k"))(model)


def _unscaled(scores: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    return scores * np.float32(np.sqrt(seen["q"].shape[-1]))


def _by_dim(scores: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    _, n_heads, head_dim = seen["q"].shape
    return scores * np.float32(np.sqrt(head_dim / (n_heads * head_dim)))


def _turn_by_turn(kv: np.ndarray, n_heads: int) -> np.ndarray:
    """Query head h takes key/value head h % n_kv_heads: (n_heads, S, head_dim)."""
    return np.ascontiguousarray(kv[:, np.arange(n_heads) % kv.shape[1]].swapaxes(0, 1))


def _wrong_key_head(scores: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    q = seen["q_rope"]
    return kernels.attention_scores(q, _turn_by_turn(seen["k_rope"], q.shape[1]))


def _wrong_value_head(mixed: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    return kernels.mix(seen["weights"], _turn_by_turn(seen["v"], len(seen["weights"])))


def _all_scores(seen: Mapping[str, np.ndarray]) -> np.ndarray:
    """The scores as they are before the future is hidden."""
    q, k = seen["q_rope"], seen["k_rope"]
    k = k.repeat(q.shape[1] // k.shape[1], axis=1)
    return np.einsum("thd,shd->hts", q, k) * np.float32(q.shape[-1] ** -0.5)


def _sees_next(scores: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    T = scores.shape[-1]
    return np.where(np.tri(T, T, 1, bool), _all_scores(seen), scores)


def _mask_too_late(weights: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    return kernels.softmax(_all_scores(seen)) * np.tri(weights.shape[-1], dtype=np.float32)


def _heads_shuffled(mixed: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    T, n_heads, head_dim = seen["q"].shape
    return mixed.reshape(T, n_heads, head_dim).swapaxes(1, 2).reshape(T, -1)


def _adds_to_normed(attended: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    return seen["attention_norm"] + seen["wo"]


def _gelu(activated: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
    x = seen["gate"]
    inner = np.float32(0.7978845608) * (x + np.float32(0.044715) * x**3)
    return np.float32(0.5) * x * (1 + np.tanh(inner)) * seen["up"]


# --- of weights ---------------------------------------------------------------------------------


def _weights(
    first: str, change: Callable[[dict[str, np.ndarray], int], dict[str, np.ndarray]]
) -> Callable[[Model], Planted]:
    """A bug in the weights; change gets all of them and the number of the middle layer."""

    def planted(model: Model) -> Planted:
        middle = model.config.n_layers // 2
        weights = dict(model.weights)
        changed = {**weights, **change(weights, middle)}
        return Planted(replace(model, weights=changed), None, first.format(layer=middle))

    return planted


def _exchanged(weights: dict[str, np.ndarray], a: str, b: str) -> dict[str, np.ndarray]:
    """Every layer's weights a and b in each other's place."""
    pairs = [(n, n.removesuffix(a) + b) for n in weights if n.endswith(f".{a}")]
    return {x: weights[y] for pair in pairs for x, y in (pair, pair[::-1])}


def _transposed(weights: dict[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    name = f"layers.{layer}.wo"
    w = dequantize(weights[name])
    return {name: np.ascontiguousarray(w.T).reshape(w.shape)}


def _one_weight(weights: dict[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    changed = {}
    for name in weights:  # one, or that of each expert
        if name.startswith(f"layers.{layer}.") and name.endswith(".w_down"):
            changed[name] = dequantize(weights[name])
            changed[name][3, 5] += np.float32(0.01)
    return changed


def _bf16_as_f16(weights: dict[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    name = f"layers.{layer}.wv"
    upper_halves = (dequantize(weights[name]).view(np.uint32) >> 16).astype(np.uint16)
    return {name: upper_halves.view(np.float16).astype(np.float32)}


def _nibbles(weights: dict[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    name = f"layers.{layer}.wk"
    w = dequantize(weights[name])
    return {name: np.ascontiguousarray(w.reshape(len(w), -1, 2)[..., ::-1]).reshape(w.shape)}


def _layers_exchanged(weights: dict[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    return {
        name.replace(f"layers.{a}.", f"layers.{b}."): weights[name]
        for a, b in ((layer, layer - 1), (layer - 1, layer))
        for name in weights
        if name.startswith(f"layers.{a}.")
    }


def _rows_shifted(weights: dict[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    table = weights["token_embedding"]
    rows = np.arange(len(table))
    half = len(table) // 2
    rows[half:] = np.roll(rows[half:], 1)
    return {"token_embedding": table[rows], "output": weights.get("output", table)}


BUGS: dict[str, Bug] = {
    bug.name: bug
    for bug in (
        Bug("eps", "RMSNorm adds ten times the eps that the model was trained with",
            _with("layers.0.attention_norm", lambda m: {"norm_eps": m.config.norm_eps * 10})),
        Bug("rope-pairing", "RoPE rotates the pairs of the other family of files",
            _with("layers.0.q_rope", _other_pairing)),
        Bug("rope-base", "RoPE's base is twice as large", _other_base),
        Bug("rope-backwards", "RoPE turns the other way", _backwards),
        Bug("positions", "positions are off by one from the middle of the text on",
            _positions_off),
        Bug("no-scale", "scores are not divided by sqrt(head_dim)",
            _steps("scores", scores=_unscaled)),
        Bug("scale-by-dim", "scores are divided by the square root of all heads' width",
            _steps("scores", scores=_by_dim)),
        Bug("kv-head", "query head h takes key/value head h % n_kv_heads",
            _steps("scores", scores=_wrong_key_head, mixed=_wrong_value_head)),
        Bug("future", "each position sees the next one", _steps("scores", scores=_sees_next)),
        Bug("late-mask", "the future is hidden after the softmax, not before",
            _steps("weights", weights=_mask_too_late)),
        Bug("heads", "heads are put together number by number, not side by side",
            _steps("mixed", mixed=_heads_shuffled)),
        Bug("post-norm", "attention's result is added to the normalized x",
            _steps("attended", attended=_adds_to_normed)),
        Bug("gelu", "the activation is GELU instead of SiLU", _steps("activated", activated=_gelu)),
        Bug("layer-skipped", "the last layer is left out, as if the model were a smaller one",
            _with("final_norm", lambda m: {"n_layers": m.config.n_layers - 1})),
        Bug("gate-up", "w_gate and w_up are exchanged",
            _weights("layers.0.gate", lambda w, _: _exchanged(w, "w_gate", "w_up"))),
        Bug("key-value", "wk and wv are exchanged",
            _weights("layers.0.k", lambda w, _: _exchanged(w, "wk", "wv"))),
        Bug("norms", "attention_norm and ffn_norm are exchanged",
            _weights("layers.0.attention_norm",
                     lambda w, _: _exchanged(w, "attention_norm", "ffn_norm"))),
        Bug("transposed", "wo of one layer is transposed",
            _weights("layers.{layer}.wo", _transposed)),
        Bug("one-weight", "a single number of w_down of one layer is off by 0.01",
            _weights("layers.{layer}.down", _one_weight)),
        Bug("bf16-as-f16", "the bits of wv of one layer are read as another 16-bit type",
            _weights("layers.{layer}.v", _bf16_as_f16)),
        Bug("nibbles", "the two 4-bit numbers of each byte are exchanged in wk of one layer",
            _weights("layers.{layer}.k", _nibbles)),
        Bug("layer-order", "two neighboring layers are exchanged",
            lambda m: _weights(f"layers.{m.config.n_layers // 2 - 1}.attention_norm",
                               _layers_exchanged)(m)),
        Bug("rows", "rows of the embedding are shifted by one in the vocabulary's second half",
            _weights("embedding", _rows_shifted)),
    )
}  # fmt: skip
