"""Hugging Face's transformers, watched through hooks on its modules.

No hook sees queries and keys after RoPE, nor the scores. RoPE's pairs lie half a head apart there:
rows of wq and wk are moved on the way in, and queries and keys on the way out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llama_edu.config import ModelConfig, output_name
from llama_edu.errors import RequestError
from llama_edu.files.huggingface.config_json import config_to_json
from llama_edu.files.names import from_ours
from llama_edu.files.row_order import rows_in_halves, rows_side_by_side
from llama_edu.quants.blocks import dequantize
from llama_edu.reconcile.referees.torch_by_hand import import_torch
from llama_edu.rope import rope_frequencies
from llama_edu.transformer.model import Model
from llama_edu.transformer.tap import steps_of

#: (positional arguments, result) of a module -> the tensor that is wanted, batch axis in front.
_Pick = Callable[[Any, Any], Any]


def _input(given: Any, got: Any) -> Any:
    return given[0]


def _output(given: Any, got: Any) -> Any:
    return got[0] if isinstance(got, tuple) else got


#: Step inside a layer -> module inside a layer, and what of it.
_MODULES: dict[str, tuple[str, _Pick]] = {
    "attention_norm": ("input_layernorm", _output),
    "q": ("self_attn.q_proj", _output),
    "k": ("self_attn.k_proj", _output),
    "v": ("self_attn.v_proj", _output),
    "weights": ("self_attn", lambda given, got: got[1]),
    "mixed": ("self_attn.o_proj", _input),
    "wo": ("self_attn.o_proj", _output),
    "attended": ("post_attention_layernorm", _input),
    "ffn_norm": ("post_attention_layernorm", _output),
}
_FEED_FORWARD: dict[str, tuple[str, _Pick]] = {
    "gate": ("mlp.gate_proj", _output),
    "up": ("mlp.up_proj", _output),
    "activated": ("mlp.down_proj", _input),
    "down": ("mlp.down_proj", _output),
}


def _by_number(given: Any, got: Any) -> Any:
    """The shares of the chosen experts, the lowest number first; the likeliest is first there."""
    _, shares, chosen = got
    return shares.gather(-1, chosen.argsort(-1))[None]


#: What hooks see of experts: their router, and what they add up to.
_MIXTURE: dict[str, tuple[str, _Pick]] = {
    "router": ("mlp.gate", lambda given, got: got[0].float().softmax(-1)[None]),
    "shares": ("mlp.gate", _by_number),
    "down": ("mlp", _output),
}


def steps(model: Model, tokens: Sequence[int], dtype: str = "float32") -> dict[str, np.ndarray]:
    """The steps that hooks see, by our name, in the order of the computation.

    Raises:
        RequestError: PyTorch or transformers is not installed, or the model's rotations are
            stretched by divisors that its settings do not state.
    """
    torch = import_torch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own future
        try:
            import transformers
        except ImportError:
            raise RequestError(
                "transformers is not installed; run: pip install transformers"
            ) from None
        theirs = _their_model(torch, transformers, model).to(getattr(torch, dtype)).eval()
    found: dict[str, Any] = {}

    def watch(name: str, path: str, pick: _Pick) -> None:
        theirs.get_submodule(path).register_forward_hook(
            lambda module, given, got: found.update({name: pick(given, got)})
        )

    modules = _MODULES | (_MIXTURE if model.config.n_experts else _FEED_FORWARD)
    watch("embedding", "model.embed_tokens", _output)
    for i in range(model.config.n_layers):
        at = f"model.layers.{i}"
        for step, (path, pick) in modules.items():
            watch(f"layers.{i}.{step}", f"{at}.{path}", pick)
        watch(f"layers.{i}.out", at, _output)
    watch("final_norm", "model.norm", _output)
    watch("logits", "lm_head", _output)
    with torch.inference_mode():
        theirs(torch.tensor([list(tokens)]), output_attentions=True)
    names = [name for name in steps_of(model.config) if name in found]
    return {name: _ours(found[name][0].double().numpy(), name, model) for name in names}


def _their_model(torch: Any, transformers: Any, model: Model) -> Any:
    """A LlamaForCausalLM with our weights, or a MixtralForCausalLM."""
    tied = output_name(model.weights) != "output"
    if not np.allclose(model.frequencies, rope_frequencies(model.config), rtol=1e-6):
        raise RequestError(
            "transformers: the file stores divisors of RoPE's frequencies that no setting of "
            "transformers expresses; compare with float64 or torch"
        )
    settings = config_to_json(model.config, tied_output=tied, dtype="float32")
    kind = "Mixtral" if model.config.n_experts else "Llama"
    theirs = getattr(transformers, f"{kind}ForCausalLM")(
        getattr(transformers, f"{kind}Config")(**settings, attn_implementation="eager")
    )
    state = {}
    for name, stored in model.weights.items():
        rows = rows_in_halves(rows_side_by_side(stored, name, model.config), name, model.config)
        state[from_ours(name, "huggingface")] = torch.from_numpy(dequantize(rows))
    if model.config.n_experts:
        state = _with_stacked_experts(torch, state, model.config)
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    theirs.load_state_dict(state)
    return theirs


def _with_stacked_experts(torch: Any, state: dict[str, Any], config: ModelConfig) -> dict[str, Any]:
    """Weights by the names of a model in memory, where the experts of a layer are one tensor."""
    found = {name: x for name, x in state.items() if ".block_sparse_moe." not in name}
    for i in range(config.n_layers):
        there, here = f"model.layers.{i}.block_sparse_moe.", f"model.layers.{i}.mlp."

        def all_experts(w: str, there: str = there) -> Any:
            names = (f"{there}experts.{e}.{w}.weight" for e in range(config.n_experts))
            return torch.stack([state[name] for name in names])

        found[f"{here}gate.weight"] = state[f"{there}gate.weight"]
        gate_up = torch.cat((all_experts("w1"), all_experts("w3")), dim=1)
        found[f"{here}experts.gate_up_proj"] = gate_up
        found[f"{here}experts.down_proj"] = all_experts("w2")
    return found


def _ours(x: np.ndarray, name: str, model: Model) -> np.ndarray:
    """One step in our shape, pairs of queries and keys in the order of the model's file."""
    config, step = model.config, name.rpartition(".")[2]
    if step in ("q", "k", "v"):
        x = x.reshape(len(x), -1, config.head_dim)
        if step != "v" and config.rope_pairing == "interleaved":
            x = x.reshape(*x.shape[:2], 2, -1).swapaxes(2, 3).reshape(x.shape)
    return x
