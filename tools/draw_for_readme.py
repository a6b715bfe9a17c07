"""Draw the README's figures: docs/way.png and docs/pages.png, of the bundled model.

    python tools/draw_for_readme.py

Screenshots of panels are another tool's: take_screenshot.py.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from llama_edu.bundled import bundled_checkpoint
from llama_edu.loading import load
from llama_edu.pages.lab import PageLab
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.page_map import records_figure
from llama_edu.show.figures.whole_way import whole_way_figure
from llama_edu.show.runtime.course_model import one_file

DOCS = Path(__file__).resolve().parent.parent / "docs"


def figures(folder: Path) -> dict[str, AltFigure]:
    """Name -> figure; the model is written to a folder as one file."""
    path = one_file(bundled_checkpoint(), folder)
    with PageLab.open(path) as lab, lab.record("touched") as record:
        pass  # before the first token
    with load(path) as llama:
        return {
            "way": whole_way_figure(llama, "Once upon a time"),
            "pages": records_figure(record, title=f"{path.name} before the first token"),
        }


def main() -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in figures(Path(folder)).items():
            path = DOCS / f"{name}.png"
            path.write_bytes(figure.png())
            print(f"docs/{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
