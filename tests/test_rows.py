"""Every record, table and result gives itself as rows of plain values: none may lack it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil

import numpy as np
import pytest

from llama_edu.pages.record import Record
from llama_edu.reconcile.inside import LogitLens
from llama_edu.table import Rows

#: Where results are defined.
ROOMS = ("experiments", "quality", "compare", "bench", "pages", "reconcile", "slimmer", "convert")

#: Public records that are no results: what is given to a computation, or passed on inside it.
NO_RESULTS = {
    "experiments.observe.kept_neurons.PagesOfTexts", "quality.scores.WindowPiece",
    "quality.scores.WindowScores", "quality.windows.Window", "quality.estimate.Estimate",
    "pages.doctor.counters.Access", "pages.doctor.counters.Counter", "pages.linux.CacheStat",
    "pages.touches.Step", "pages.backends.base.Reading",
    "reconcile.reference.WholeReference", "reconcile.fingerprint.Fingerprint",
    "reconcile.bugs.Planted", "reconcile.bugs.Bug",
    "slimmer.masks.Choice", "slimmer.texts.Texts", "slimmer.page_groups.PageGroups",
    "slimmer.hot_cold.HotAndCold", "slimmer.activations.Activations", "slimmer.ways.layers.Choice",
    "slimmer.ways.vocabulary.SmallerVocabulary", "slimmer.ways.matrix_inputs.Inputs",
    "slimmer.ways.measured.Measured",
    "convert.output_formats.WriteRequest", "convert.output_formats.OutputFormat",
    "convert.arrange.Arrangement",
}  # fmt: skip


def records():
    """Dotted name without the package -> class, of every public dataclass of these rooms."""
    found = {}
    for room in ROOMS:
        module = importlib.import_module(f"llama_edu.{room}")
        names = [module.__name__]
        if hasattr(module, "__path__"):
            names += [m.name for m in pkgutil.walk_packages(module.__path__, f"{names[0]}.")]
        for name in names:
            for thing in vars(importlib.import_module(name)).values():
                if (
                    inspect.isclass(thing)
                    and dataclasses.is_dataclass(thing)
                    and thing.__module__ == name
                    and not thing.__name__.startswith("_")
                ):
                    key = f"{name}.{thing.__name__}".removeprefix("llama_edu.")
                    found[key] = thing
    return found


RECORDS = records()


def test_no_result_lacks_its_rows():
    lacking = {name for name, record in RECORDS.items() if not hasattr(record, "to_rows")}
    assert lacking == NO_RESULTS
    assert hasattr(Record, "to_rows")


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_the_fields_and_properties_that_rows_name_are_there(name):
    record = RECORDS[name]
    fields = {field.name for field in dataclasses.fields(record)}
    assert {*(getattr(record, "rows_of", None) or ())} <= fields
    assert all(isinstance(getattr(record, also), property) for also in getattr(record, "also", ()))


@dataclasses.dataclass(frozen=True)
class Inner(Rows):
    mean: float
    count: np.int64


@dataclasses.dataclass(frozen=True)
class Line(Rows):
    also = ("twice",)

    name: str
    inner: Inner
    shares: np.ndarray

    @property
    def twice(self):
        return 2 * self.inner.mean


@dataclasses.dataclass(frozen=True)
class Table(Rows):
    rows_of = ("lines", "last")

    title: str
    lines: tuple[Line, ...]
    last: Inner | None


def test_a_table_is_a_row_for_each_record_and_columns_that_lack_are_none():
    line = Line("a", Inner(0.5, np.int64(3)), np.array([1.0, 2]))
    row = {"name": "a", "inner_mean": 0.5, "inner_count": 3, "shares": [1.0, 2.0], "twice": 1.0}
    assert line.to_rows() == [row]
    assert Table("t", (line, line), None).to_rows() == [row, row]
    assert Table("t", (), None).to_rows() == []
    first, second = Table("t", (line,), Inner(1.0, np.int64(2))).to_rows()
    assert first == {"table": "lines", **row, "mean": None, "count": None}
    assert (second["table"], second["mean"], second["name"]) == ("last", 1.0, None)
    assert first.keys() == second.keys() and type(first["inner_count"]) is int
    json.dumps([first, second])


def test_a_logit_lens_is_a_row_for_each_layer_and_position():
    lens = LogitLens(np.array([[3, 4], [5, 6], [7, 8]]), np.full((3, 2), 0.5, np.float32))
    rows = lens.to_rows()
    assert len(rows) == 6 and rows[3] == {"layer": 1, "position": 1, "id": 6, "probability": 0.5}
    json.dumps(rows)


def test_pandas_and_polars_take_them():
    line = Line("a", Inner(0.5, np.int64(3)), np.array([1.0, 2]))
    rows = Table("t", (line,), Inner(1.0, np.int64(2))).to_rows()
    for library in ("pandas", "polars"):
        frame = pytest.importorskip(library).DataFrame(rows)
        assert len(frame) == 2 and "inner_mean" in frame.columns
