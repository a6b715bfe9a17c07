"""Where the bundled models are: in the installed package, or next to it in a clone."""

from __future__ import annotations

from pathlib import Path

from llama_edu.errors import FormatError, RequestError

#: Name -> what `load` opens, and the file that shows that it is there. A model has its own folder.
_MODELS = {
    "stories": ("", "params.json"),
    "stories-moe": ("stories-moe.gguf", "stories-moe.gguf"),
    "stories-relu": ("stories-relu.gguf", "stories-relu.gguf"),
}


def bundled_checkpoint(name: str = "stories") -> Path:
    """A checkpoint that comes with this package.

    Args:
        name: "stories", a folder in Meta's layout; "stories-moe", the same network as a mixture of
            experts; or "stories-relu", with ReLU, so that most of its activations are 0. The
            latter two are GGUF files.
    Raises:
        RequestError: no bundled model has this name. FormatError: it is missing.
    """
    if name not in _MODELS:
        raise RequestError(f"bundled model {name!a}: expected one of {', '.join(_MODELS)}")
    opened, needed = _MODELS[name]
    package = Path(__file__).parent
    for data in (package / "data", package.parent / "data"):
        if (data / name / needed).is_file():
            return data / name / opened
    raise FormatError(
        f"{package / 'data' / name}: the bundled model is missing; install the package again"
    )
