r"""Write the checkpoint of train_moe.py or train_relu.py as a Hugging Face folder.

    python tools/export_huggingface.py --checkpoint run-moe/checkpoint.pt \
        --tokenizer data/stories/tokenizer.model --out stories-moe-hf

MixtralForCausalLM or, with hidden_act "relu", LlamaForCausalLM; float32, one safetensors file. The
same checkpoint gives the same bytes.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from story_feed_forwards import EXPERT_DIM, N_EXPERTS, N_EXPERTS_PER_TOKEN
from story_model import MAX_SEQ_LEN, PARAMS, ROPE_THETA, hidden_dim

TOP = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
OF_LAYER = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}


def is_moe(model_state):
    """Whether a checkpoint's weights are those of a mixture of experts."""
    return "layers.0.feed_forward.router" in model_state


def rows_in_halves(matrix, n_heads):
    """Rows of wq or wk with RoPE's pairs (2i, 2i + 1) moved to (i, i + head_dim / 2); a copy."""
    n_rows, dim = matrix.shape
    pairs = matrix.view(n_heads, n_rows // n_heads // 2, 2, dim)
    return pairs.transpose(1, 2).reshape(n_rows, dim)


def huggingface_tensors(model_state):
    """The weights by Hugging Face's names, float32, the rows of wq and wk in its order."""
    tensors = {}
    for name, tensor in model_state.items():
        parts = name.removesuffix(".weight").split(".", 2)
        if parts[0] != "layers":
            tensors[f"{TOP[parts[0]]}.weight"] = tensor
            continue
        _, layer, inner = parts
        prefix = f"model.layers.{layer}"
        if inner == "feed_forward.router":
            tensors[f"{prefix}.block_sparse_moe.gate.weight"] = tensor
        elif tensor.dim() == 3:
            for expert, matrix in enumerate(tensor):
                which = inner.removeprefix("feed_forward.")
                tensors[f"{prefix}.block_sparse_moe.experts.{expert}.{which}.weight"] = matrix
        else:
            if inner in ("attention.wq", "attention.wk"):
                tensor = rows_in_halves(tensor, PARAMS["n_heads"])
            tensors[f"{prefix}.{OF_LAYER[inner]}.weight"] = tensor
    return {name: tensor.float().contiguous().clone() for name, tensor in tensors.items()}


def config_json(model_state):
    """What config.json states about a checkpoint's weights."""
    moe = is_moe(model_state)
    width = EXPERT_DIM if moe else hidden_dim(PARAMS["dim"], PARAMS["multiple_of"])
    own = (
        {
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "hidden_act": "silu",
            "num_local_experts": N_EXPERTS,
            "num_experts_per_tok": N_EXPERTS_PER_TOKEN,
            "sliding_window": None,
        }
        if moe
        else {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "relu",
            "attention_bias": False,
            "mlp_bias": False,
        }
    )
    return own | {
        "hidden_size": PARAMS["dim"],
        "intermediate_size": width,
        "num_hidden_layers": PARAMS["n_layers"],
        "num_attention_heads": PARAMS["n_heads"],
        "num_key_value_heads": PARAMS["n_heads"],
        "head_dim": PARAMS["dim"] // PARAMS["n_heads"],
        "vocab_size": model_state["output.weight"].shape[0],
        "max_position_embeddings": MAX_SEQ_LEN,
        "rms_norm_eps": PARAMS["norm_eps"],
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }


def write_folder(model_state, tokenizer_path, folder):
    """Write config.json, model.safetensors and tokenizer.model into folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config_json(model_state), indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    tensors = huggingface_tensors(model_state)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(tokenizer_path, folder / "tokenizer.model")


def main():
    parser = argparse.ArgumentParser(description="Write a trained model as a Hugging Face folder.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model_state = torch.load(args.checkpoint, weights_only=True)["model"]
    write_folder(model_state, args.tokenizer, args.out)
    n_bytes = (args.out / "model.safetensors").stat().st_size
    print(f"{args.out}: {n_bytes:,} bytes of weights")


if __name__ == "__main__":
    main()
