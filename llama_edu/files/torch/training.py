"""One file saved during training: the weights in a dict, with the sizes next to them.

llama2.c's train.py and many small trainers write it with
`torch.save({"model": state_dict, "model_args": {...}})`. Names and row order are Meta's; compiled
models prefix names with `_orig_mod.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.layout import Checkpoint, TensorSpec
from llama_edu.files.mapped import OpenFiles
from llama_edu.files.torch.pth import read_pth
from llama_edu.files.vocabularies.detect import find_tokenizer
from llama_edu.files.weights import check_tensors, with_our_names
from llama_edu.text import quoted

#: The defaults in llama2.c's model.py; a file states these only if they were changed.
_NORM_EPS, _MAX_SEQ_LEN = 1e-5, 2048


def read_training_checkpoint(path: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in one torch file that states its own sizes.

    Raises:
        FormatError: the file states no sizes (as is true of a shard in Meta's layout), or its
            tensors are not those of a LLaMA with these sizes.
    """
    contents = read_pth(files.open(path))
    sizes = contents.settings
    if "dim" not in sizes or "n_heads" not in sizes:
        raise FormatError(
            f"{path}: holds tensors but no model_args with their sizes; if it is one shard of a "
            f"checkpoint in Meta's layout, give its folder, {path.parent}, where params.json is"
        )
    tensors, ignored = with_our_names(contents.tensors, "meta", path)
    embedding, output = tensors.get("token_embedding"), tensors.get("output")
    if embedding is not None and output is not None and embedding.offset == output.offset:
        del tensors["output"]  # one storage under two names: tied
    config = _config(sizes, tensors, path)
    check_tensors(tensors, config, path)
    return Checkpoint(
        format="PyTorch training checkpoint",
        recognized_by="a torch file with a dict of weights and model_args",
        paths=(path,),
        config=config,
        tensors=tensors,
        tokenizer_path=find_tokenizer(path.parent),
        ignored=ignored,
        metadata=sizes,
        assumed={"rope_theta": "llama2.c's model.py has it as a constant"}
        | {
            key: "model_args does not state it; the default of llama2.c"
            for key in ("max_seq_len", "norm_eps")
            if sizes.get(key) is None
        },
    )


def _config(
    sizes: Mapping[str, object], tensors: Mapping[str, TensorSpec], path: Path
) -> ModelConfig:
    def size(key: str, default: int | None = None) -> int:
        value = sizes.get(key)
        value = default if value is None else value
        if type(value) is not int:
            raise FormatError(
                f"{path}: model_args: {key} is {quoted(value, 40)}, expected a whole number"
            )
        return value

    embedding, gate = tensors.get("token_embedding"), tensors.get("layers.0.w_gate")
    if embedding is None or gate is None or len(embedding.shape) != 2 or len(gate.shape) != 2:
        raise FormatError(f"{path}: has no embedding or no layer 0; the checkpoint is incomplete")
    try:
        return ModelConfig(
            dim=size("dim"),
            hidden_dim=gate.shape[0],
            n_layers=size("n_layers"),
            n_heads=size("n_heads"),
            n_kv_heads=size("n_kv_heads", size("n_heads")),
            vocab_size=embedding.shape[0],
            max_seq_len=size("max_seq_len", _MAX_SEQ_LEN),
            norm_eps=float(str(sizes.get("norm_eps", _NORM_EPS))),
        )
    except (ShapeError, ValueError) as error:
        raise FormatError(f"{path}: model_args: {error}") from None
