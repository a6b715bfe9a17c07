"""Where the bundled checkpoint is: in the installed package, or next to it in a clone."""

from __future__ import annotations

from pathlib import Path

from llama_edu.errors import FormatError


def bundled_checkpoint() -> Path:
    """The folder of the checkpoint that comes with this package, in Meta's layout."""
    package = Path(__file__).parent
    for data in (package / "data", package.parent / "data"):
        if (data / "stories" / "params.json").is_file():
            return data / "stories"
    raise FormatError(
        f"{package / 'data'}: the bundled checkpoint is missing; install the package again"
    )
