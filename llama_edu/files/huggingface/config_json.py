"""config.json as a ModelConfig and back, and whose tensor names a file uses.

Source, and the reference for what a config.json leaves open: LlamaConfig and MistralConfig of
transformers (5.24) and their defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from llama_edu.config import Activation, ModelConfig, RopeScaling
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.names import Dialect
from llama_edu.text import one_line

#: Model types with the architecture of LLaMA.
_MODEL_TYPES = ("llama", "mistral")

#: Key -> (field of ModelConfig, default of MistralConfig, which has one for every size).
_MISTRAL: dict[str, tuple[str, int]] = {
    "vocab_size": ("vocab_size", 32000),
    "hidden_size": ("dim", 4096),
    "intermediate_size": ("hidden_dim", 14336),
    "num_hidden_layers": ("n_layers", 32),
    "num_attention_heads": ("n_heads", 32),
    "num_key_value_heads": ("n_kv_heads", 8),
    "max_position_embeddings": ("max_seq_len", 131072),
}
_MISTRAL_WINDOW = 4096

_REQUIRED = object()


def config_from_json(values: Mapping[str, object], where: object) -> ModelConfig:
    """The sizes in a config.json. Rows of wq and wk are assumed to be in Hugging Face's order.

    The context of a Mistral ends with its sliding window: up to there attention is the same.

    Raises:
        FormatError: a size is missing or not a number, or the model is not a plain LLaMA.
    """

    def get(key: str, kinds: type | tuple[type, ...], default: object = _REQUIRED):
        value = values.get(key)
        if value is None and default is not _REQUIRED:
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            found = "is missing" if value is None else f"is {str(value)[:60]!a}"
            raise FormatError(f"{where}: {key} {found}, expected {_in_words(kinds)}")
        return value

    _refuse_other_models(get("model_type", str, "llama"), values, where)
    values = {**_defaults_of(values), **values}
    n_heads = get("num_attention_heads", int)
    context = get("max_position_embeddings", int, 2048)
    if values.get("model_type") == "mistral":
        context = min(context, get("sliding_window", int, context))
    rope = get("rope_parameters", dict, {}) or get("rope_scaling", dict, {})
    try:
        return ModelConfig(
            dim=get("hidden_size", int),
            hidden_dim=get("intermediate_size", int),
            n_layers=get("num_hidden_layers", int),
            n_heads=n_heads,
            n_kv_heads=get("num_key_value_heads", int, n_heads),
            vocab_size=get("vocab_size", int),
            max_seq_len=context,
            norm_eps=float(get("rms_norm_eps", (int, float), 1e-6)),
            rope_theta=_theta_from_json(rope, values, where),
            head_dim=get("head_dim", int, 0),
            rope_pairing="halves",
            rope_scaling=_scaling_from_json(rope, where),
            activation="relu" if values.get("hidden_act") == "relu" else "silu",
        )
    except (ShapeError, OverflowError) as error:
        raise FormatError(f"{where}: {error}") from None


def _defaults_of(values: Mapping[str, object]) -> dict[str, int]:
    """What transformers takes for keys that are not there; a null stands for itself."""
    if values.get("model_type") != "mistral":
        return {}
    defaults = {key: default for key, (_, default) in _MISTRAL.items()}
    defaults["sliding_window"] = _MISTRAL_WINDOW
    return {key: default for key, default in defaults.items() if key not in values}


def window_of(values: Mapping[str, object]) -> dict[str, object]:
    """The sliding window of a Mistral, stated or by default, by its key; empty for none."""
    if values.get("model_type") != "mistral":
        return {}
    window = values.get("sliding_window", _MISTRAL_WINDOW)
    return {} if window is None else {"sliding_window": window}


def assumed_of(values: Mapping[str, object]) -> dict[str, str]:
    """Fields of ModelConfig that a config.json leaves to the defaults of transformers, and why."""
    missing = _defaults_of(values)
    assumed = {
        field: f"config.json does not state {key}; MistralConfig's default"
        for key, (field, _) in _MISTRAL.items()
        if key in missing
    }
    window = window_of(values).get("sliding_window")
    stated = {**missing, **values}.get("max_position_embeddings")
    if isinstance(window, int) and isinstance(stated, int) and window < stated:
        by_default = ", MistralConfig's default" if "sliding_window" in missing else ""
        assumed["max_seq_len"] = f"only up to the sliding window of {window:,}{by_default}"
    return {**_assumed_of_any(values), **assumed}


def _assumed_of_any(values: Mapping[str, object]) -> dict[str, str]:
    rope = values.get("rope_parameters") or values.get("rope_scaling")
    theta = rope.get("rope_theta") if isinstance(rope, dict) else None
    missing = {
        "max_seq_len": ("max_position_embeddings", values.get("max_position_embeddings")),
        "norm_eps": ("rms_norm_eps", values.get("rms_norm_eps")),
        "rope_theta": ("rope_theta", values.get("rope_theta") if theta is None else theta),
    }
    return {
        field: f"config.json does not state {key}; the default of transformers"
        for field, (key, value) in missing.items()
        if value is None
    }


def _refuse_other_models(model_type: str, values: Mapping[str, object], where: object) -> None:
    """Raise FormatError for another architecture, or a LLaMA with unsupported features."""
    if model_type not in _MODEL_TYPES:
        raise FormatError(
            f"{where}: model_type is {model_type[:60]!a}, expected {' or '.join(_MODEL_TYPES)}; "
            f"this package computes LLaMA models only"
        )
    for key, expected in (
        ("attention_bias", False), ("mlp_bias", False), ("hidden_act", get_args(Activation)),
        ("sliding_window", None), ("quantization_config", None),
    ):  # fmt: skip
        if (key, model_type) == ("sliding_window", "mistral"):
            continue
        found = values.get(key)
        allowed = expected if isinstance(expected, tuple) else (expected,)
        if found is not None and found not in allowed:
            or_else = " or ".join(map(str, allowed))
            raise FormatError(
                f"{where}: {key} is {str(found)[:60]!a}, expected {or_else}; this kind of LLaMA "
                f"is not supported"
            )


def _theta_from_json(
    rope: Mapping[str, object], values: Mapping[str, object], where: object
) -> float:
    theta = rope.get("rope_theta", values.get("rope_theta"))
    if theta is None:
        return 10000.0
    if isinstance(theta, bool) or not isinstance(theta, int | float):
        raise FormatError(f"{where}: rope_theta is {str(theta)[:60]!a}, expected a number")
    return float(theta)


def _in_words(kinds: type | tuple[type, ...]) -> str:
    words = {int: "a whole number", str: "a string", dict: "an object", bool: "true or false"}
    return "a number" if isinstance(kinds, tuple) else words[kinds]


def _scaling_from_json(rope: Mapping[str, object], where: object) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind in ("default", None):
        return None
    if kind not in ("linear", "llama3"):
        raise FormatError(
            f"{where}: rope_scaling is of type {str(kind)[:40]!a}, expected linear or llama3; this "
            f"way of stretching RoPE is not supported"
        )

    def number(key: str) -> float:
        value = rope.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FormatError(
                f"{where}: rope_scaling has {key} {str(value)[:40]!a}, expected a number"
            )
        return float(value)

    if kind == "linear":
        return RopeScaling("linear", number("factor"))
    return RopeScaling(
        "llama3",
        number("factor"),
        number("low_freq_factor"),
        number("high_freq_factor"),
        int(number("original_max_position_embeddings")),
    )


def config_to_json(config: ModelConfig, *, tied_output: bool, dtype: str) -> dict[str, object]:
    """The config.json from which transformers builds the same model.

    Args:
        config: the sizes; its rope_pairing does not matter, as Hugging Face has only one.
        tied_output: whether the output matrix is the token embedding.
        dtype: torch's name of the weights' type, for example "float16".
    """
    scaling = config.rope_scaling
    rope: dict[str, object] | None = None
    if scaling is not None:
        rope = {"rope_type": scaling.kind, "type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            rope |= {
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_max_seq_len,
            }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.dim,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": rope,
        "hidden_act": config.activation,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied_output,
        "torch_dtype": dtype,
    }


def dialect_of(stored_names: Mapping[str, object], where: object) -> Dialect:
    """Whose names these are, recognized by the embedding's name."""
    if "model.embed_tokens.weight" in stored_names:
        return "huggingface"
    if "tok_embeddings.weight" in stored_names:
        return "meta"
    example = one_line(next(iter(stored_names), ""))
    raise FormatError(
        f"{where}: has no model.embed_tokens.weight and no tok_embeddings.weight among "
        f"{len(stored_names):,} tensors such as {example}; this is another kind of model"
    )
