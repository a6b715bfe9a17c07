"""What people look at: text reports, figures, widgets.

Only this room imports matplotlib or Jupyter.
"""

from __future__ import annotations

import importlib

#: Public name -> the module that has it.
_PARTS = {
    "ComparisonWidget": "llama_edu.show.comparison",
    "GenerationStudio": "llama_edu.show.studio",
    "GenerationWidget": "llama_edu.show.widgets",
    "PageMapWidget": "llama_edu.show.xray",
    "attempt": "llama_edu.show.refusals",
    "guess": "llama_edu.show.guessing",
    "wide": "llama_edu.show.whole_lines",
}


def __getattr__(name: str) -> object:
    """Import a part when it is asked for: text reports need no Jupyter."""
    if name in _PARTS:
        return getattr(importlib.import_module(_PARTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
