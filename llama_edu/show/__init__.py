"""What people look at: text reports, figures, widgets.

Only this room imports matplotlib or Jupyter.
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """Import the widgets when one is asked for: text reports need no Jupyter."""
    if name == "GenerationWidget":
        from llama_edu.show.widgets import GenerationWidget

        return GenerationWidget
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
