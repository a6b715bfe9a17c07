"""Picture: what a panel leaves on a page where no kernel runs.

Such a page (GitHub, nbviewer, an exported notebook) shows the richest form that an output has: HTML
before PNG before text. GitHub drops style, so HTML must say the same without it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Picture:
    """A panel as it was at one moment: words, and HTML or a PNG where there is something to see.

    Attributes:
        text: stands alone where nothing else can be shown, and describes the PNG.
        html: without scripts, everything from a model or a file escaped; "" shows the PNG.
    """

    text: str
    html: str = ""
    png: bytes = b""

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, object], dict[str, object]]:
        """Data and metadata; a PNG comes with its alternative text."""
        data: dict[str, object] = {"text/plain": self.text}
        metadata: dict[str, object] = {}
        if self.html:
            data["text/html"] = self.html
        if self.png:
            data["image/png"] = base64.b64encode(self.png).decode("ascii")
            metadata["image/png"] = {"alt": self.text}
        return data, metadata
