"""What the reader sees: text reports, figures, widgets.

Only this package imports matplotlib or Jupyter.
"""

from __future__ import annotations

import importlib

#: Public name -> the module that defines it.
_PARTS = {
    "ChatPanel": "llama_edu.show.panels.chat.widget",
    "ComparisonWidget": "llama_edu.show.panels.comparison",
    "GenerationStudio": "llama_edu.show.panels.studio",
    "GenerationWidget": "llama_edu.show.panels.generation",
    "PageMapWidget": "llama_edu.show.panels.page_map.widget",
    "StepsPanel": "llama_edu.show.panels.steps",
    "attempt": "llama_edu.show.runtime.attempt",
    "course_model": "llama_edu.show.runtime.course_model",
    "fails": "llama_edu.show.runtime.fails",
    "guess": "llama_edu.show.panels.guess",
    "one_file": "llama_edu.show.runtime.course_model",
    "wide": "llama_edu.show.text.wide",
}


def __getattr__(name: str) -> object:
    """Import a part when it is used: text reports need no Jupyter."""
    if name in _PARTS:
        return getattr(importlib.import_module(_PARTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
