"""GGUF files in the layouts of our own, written by the letter: a second, independent writer."""

from __future__ import annotations

import numpy as np

from helpers.gguf_by_hand import Gguf, gguf_keys, gguf_shapes

TYPE_IDS = {"f32": 0, "f16": 1, "i8": 24}
DTYPES = {"f32": "<f4", "f16": "<f2"}
LAYOUT = "llama_edu.feed_forward_layout"
TYPES = "llama_edu.feed_forward_types"
ORDER = "llama_edu.feed_forward_order"


def gguf_weights(seed: int = 3) -> dict[str, np.ndarray]:
    """Random weights of the model of gguf_by_hand, by GGUF's names; they fit float16."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) * 0.4 + (len(shape) == 1))
        .astype(np.float16)
        .astype(np.float32)
        for name, shape in gguf_shapes().items()
    }


def layout_gguf(
    layout: str,
    weights: dict[str, np.ndarray] | None = None,
    *,
    types=("f32", "f16", "f32"),
    infos_extra=(),
    **changes: bytes | None,
) -> bytes:
    """A file in a layout; `types` are those of gate, up and down where they lie side by side.

    A change replaces a key (dots spelled __), None drops it.
    """
    g = Gguf()
    stored: dict[str, tuple[str, np.ndarray]] = {}
    weights = weights or gguf_weights()
    for name, array in weights.items():
        stem = name.removesuffix(".weight")
        if layout == "down-transposed" and stem.endswith("ffn_down"):
            stored[f"{stem}_t.weight"] = "f32", np.ascontiguousarray(array.T)
        elif layout == "side-by-side" and "ffn_" in stem and not stem.endswith("norm"):
            if stem.endswith("ffn_gate"):
                block = stem.removesuffix("ffn_gate")
                parts = [array, weights[f"{block}ffn_up.weight"],
                         weights[f"{block}ffn_down.weight"].T]  # fmt: skip
                rows = [
                    b"".join(part[i].astype(DTYPES[t]).tobytes()
                             for part, t in zip(parts, types, strict=True))
                    for i in range(len(array))
                ]  # fmt: skip
                neurons = np.frombuffer(b"".join(rows), np.int8).reshape(len(array), -1)
                stored[f"{block}ffn_neurons.weight"] = "i8", neurons
        else:
            stored[name] = "f32", array
    infos, data = [], b""
    for name, (kind, array) in stored.items():
        infos.append(g.info(name, array.shape[::-1], TYPE_IDS[kind], len(data)))
        data += array.tobytes()
        data += bytes(-len(data) % 32)
    keys: dict[str, bytes | None] = {}
    if layout != "rows":
        keys["general__architecture"] = g.kv("general.architecture", "string", "llama_edu")
        keys[LAYOUT.replace(".", "__")] = g.kv(LAYOUT, "string", layout)
    if layout == "side-by-side":
        keys[TYPES.replace(".", "__")] = g.array(TYPES, "string", list(types) * 2)
    return g.file(gguf_keys(g, **(keys | changes)), [*infos, *infos_extra], data)
