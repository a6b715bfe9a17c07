"""The small files of a Hugging Face folder that say how its model is used.

They are copied whole from folder to folder. For other formats, what GGUF has a key for gets that
key; the rest keeps its name, "generation_config.json:temperature", so that it can be named where it
is lost. The reference is transformers, and llama.cpp's convert_hf_to_gguf.py for GGUF's keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files.layout import TypedValue
from llama_edu.files.strict_json import MAX_JSON_BYTES, read_object
from llama_edu.files.vocabularies.ends import ADD_EOS
from llama_edu.vocabulary import Vocabulary

#: Tokenizers, the preferred first.
TOKENIZERS = ("tokenizer.model", "tokenizer.json")

_TOKENIZER_CONFIG = "tokenizer_config.json"
_SETTINGS = (
    "generation_config.json", _TOKENIZER_CONFIG, "special_tokens_map.json", "chat_template.json",
)  # fmt: skip
_TEMPLATE_FILE = "chat_template.jinja"

#: Files that are copied from folder to folder, whatever they say.
COMPANIONS = (*TOKENIZERS, *_SETTINGS, _TEMPLATE_FILE, "added_tokens.json")

CHAT_TEMPLATE = "tokenizer.chat_template"
PADDING = "tokenizer.ggml.padding_token_id"

#: Keys of config.json that are sizes, or follow from the weights that are written.
_OF_SIZES = frozenset(
    (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings", "rms_norm_eps",
        "rope_theta", "rope_scaling", "rope_parameters", "hidden_act", "attention_bias",
        "mlp_bias", "tie_word_embeddings", "torch_dtype", "dtype", "architectures",
        "sliding_window", "quantization_config", "num_local_experts", "num_experts_per_tok",
    )
)  # fmt: skip

#: Keys of tokenizer files that follow from the pieces and their ids.
_OF_PIECES = ("bos_token", "eos_token", "unk_token", "added_tokens_decoder", "tokenizer_class")

#: Keys that say what is put around a text, which a Vocabulary says as well.
_OF_SURROUNDINGS = ("add_bos_token", "add_eos_token", "add_prefix_space", "legacy")


def companions_of(folder: Path) -> tuple[Path, ...]:
    """The files of a folder that say how its model is used."""
    return tuple(folder / name for name in COMPANIONS if (folder / name).is_file())


def carried_from_config(values: Mapping[str, object]) -> dict[str, TypedValue]:
    """What a config.json says beyond sizes: ids by GGUF's keys, the rest by its own names."""
    carried = {
        f"config.json:{key}": TypedValue("json", value)
        for key, value in values.items()
        if key not in _OF_SIZES
        and (key, value) not in (("model_type", "llama"), ("model_type", "mixtral"))
    }
    padding = values.get("pad_token_id")
    if _is_id(padding):
        carried[PADDING] = TypedValue("u32", padding)
    return carried


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**32 - 1


def carried_from_companions(paths: tuple[Path, ...]) -> dict[str, TypedValue]:
    """What the files beside a config.json say, the tokenizers apart."""
    carried: dict[str, TypedValue] = {}
    for path in paths:
        if path.name == _TEMPLATE_FILE:
            with path.open("rb") as file:
                text = file.read(MAX_JSON_BYTES).decode("utf-8", "replace")
            carried[CHAT_TEMPLATE] = TypedValue("string", text)
        elif path.name in _SETTINGS:
            try:
                values = read_object(path, strict=False)
            except FormatError:  # the model can be computed without it
                carried[path.name] = TypedValue("json", None)
                continue
            for key, value in values.items():
                carried |= _settings_entry(path.name, key, value)
    return carried


def _settings_entry(file: str, key: str, value: object) -> dict[str, TypedValue]:
    """One key of a settings file, by GGUF's key where there is one."""
    if file != "generation_config.json":
        if key in _OF_PIECES:
            return {}
        if key == "chat_template" and isinstance(value, str):
            return {CHAT_TEMPLATE: TypedValue("string", value)}
        if key == "chat_template" and isinstance(value, list):
            return _named_templates(value)
        if key == "add_eos_token" and isinstance(value, bool):
            return {ADD_EOS: TypedValue("bool", value)}
    return {f"{file}:{key}": TypedValue("json", value)}


def _named_templates(templates: list[object]) -> dict[str, TypedValue]:
    carried = {}
    for entry in templates:
        if isinstance(entry, dict):
            name, text = entry.get("name"), entry.get("template")
            if isinstance(name, str) and isinstance(text, str):
                key = CHAT_TEMPLATE if name == "default" else f"{CHAT_TEMPLATE}.{name}"
                carried[key] = TypedValue("string", text)
    return carried


def is_said_otherwise(key: str, value: object, vocabulary: Vocabulary | None) -> bool:
    """Whether a key of a JSON file says only what the vocabulary and GGUF's keys say as well."""
    file, _, name = key.partition(":")
    if vocabulary is None or not name:
        return False
    ids = {"bos_token_id": (vocabulary.bos_id,), "eos_token_id": vocabulary.end_ids}
    if file in ("config.json", "generation_config.json") and name in ids:
        return value is None or set(value if isinstance(value, list) else [value]) <= {*ids[name]}
    if file == "config.json" and name == "pad_token_id":
        return value is None or _is_id(value)
    return file == _TOKENIZER_CONFIG and name in _OF_SURROUNDINGS


def config_extras(
    carried: Mapping[str, TypedValue], vocabulary: Vocabulary | None
) -> dict[str, object]:
    """Keys of config.json beyond sizes: those of the source, and the ids of special tokens.

    transformers takes 1 for BOS and 2 for EOS where config.json does not say them, so none is said
    as null.
    """
    extras = {
        key.removeprefix("config.json:"): value.value
        for key, value in carried.items()
        if key.startswith("config.json:")
    }
    if vocabulary is not None and "eos_token_id" not in extras:
        ends = list(vocabulary.end_ids)
        eos = ends if len(ends) > 1 else ends[0] if ends else None
        bos = vocabulary.bos_id if vocabulary.bos_id >= 0 else None
        extras |= {"bos_token_id": bos, "eos_token_id": eos}
    if PADDING in carried:
        extras.setdefault("pad_token_id", carried[PADDING].value)
    return extras


def tokenizer_config(
    carried: Mapping[str, TypedValue], vocabulary: Vocabulary, spelled: list[bytes]
) -> dict[str, object]:
    """A tokenizer_config.json for a folder that has none.

    transformers then puts the space before a text that the vocabulary wants: its LlamaTokenizer
    would put none before a text that begins with one, so no class is named where that is wanted.
    """
    values: dict[str, object] = {"add_bos_token": vocabulary.add_bos}
    if ADD_EOS in carried or vocabulary.add_eos:
        values["add_eos_token"] = vocabulary.add_eos
    if vocabulary.model == "bpe":
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
    else:
        values["add_prefix_space"] = vocabulary.add_space_prefix
        values["legacy"] = vocabulary.prefixes_every_part
        if not vocabulary.doubles_space:
            values["tokenizer_class"] = "LlamaTokenizer"
    padding = carried[PADDING].value if PADDING in carried else -1
    ids = {
        "bos_token": vocabulary.bos_id, "eos_token": vocabulary.eos_id,
        "unk_token": vocabulary.unk_id, "pad_token": padding,
    }  # fmt: skip
    for name, token in ids.items():
        if isinstance(token, int) and 0 <= token < len(spelled):
            values[name] = spelled[token].decode("utf-8", "replace")
    templates = {
        key.removeprefix(CHAT_TEMPLATE).removeprefix("."): value.value
        for key, value in carried.items()
        if key == CHAT_TEMPLATE or key.startswith(f"{CHAT_TEMPLATE}.")
    }
    if list(templates) == [""]:
        values["chat_template"] = templates[""]
    elif templates:
        values["chat_template"] = [
            {"name": name or "default", "template": text} for name, text in templates.items()
        ]
    return values
