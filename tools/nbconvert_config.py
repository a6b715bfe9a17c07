"""Exporting the course as HTML, with the alternative text of every figure.

    jupyter nbconvert --to html --config tools/nbconvert_config.py notebooks/*.ipynb

The template of nbconvert 7 leaves that text out, warns of it, and offers no setting.
"""

from html import escape

from nbconvert.preprocessors import Preprocessor


class AlternativeText(Preprocessor):
    """Figures that have an alternative text become an <img> with it."""

    enabled = True

    def preprocess_cell(self, cell, resources, index):
        """Exchange the PNGs of a cell."""
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt and "image/png" in output.data and "text/html" not in output.data:
                png = "".join(output.data["image/png"].split())
                output.data["text/html"] = (
                    f'<img alt="{escape(alt)}" src="data:image/png;base64,{png}">'
                )
        return cell, resources


c = get_config()  # noqa: F821  (traitlets, which runs this file, defines it)
c.HTMLExporter.preprocessors = [AlternativeText]
