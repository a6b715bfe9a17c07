"""What was measured of a model: rows, as a table in text and as a JSON document."""

from __future__ import annotations

import platform
import statistics
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from llama_edu.bench.other_programs import OtherPrograms
from llama_edu.bench.stopwatch import Spent
from llama_edu.files.layout import Checkpoint
from llama_edu.table import Rows, lay_out, mib
from llama_edu.text import one_line

#: The form of `Report.as_dict`; it grows when a name changes its meaning or goes away.
SCHEMA = 1


@dataclass(frozen=True)
class Row(Rows):
    """One test with one choice of kernels, arithmetic and threads.

    Attributes:
        test: "load", "ppN" (a prompt of N positions) or "tgN" (N single tokens), as in llama-bench.
        n_tokens: N; 0 for "load".
        spent: what each repetition took.
    """

    kernels: str
    arithmetic: str
    threads: int
    test: str
    n_tokens: int
    spent: tuple[Spent, ...]

    @property
    def tokens_per_s(self) -> float | None:
        """The mean over repetitions; None for "load"."""
        return statistics.fmean(self._rates()) if self.n_tokens else None

    @property
    def tokens_per_s_deviation(self) -> float | None:
        """The standard deviation of a repetition; None for "load" and for a single repetition."""
        return _deviation(self._rates()) if self.n_tokens else None

    @property
    def wall_s(self) -> float:
        """Seconds per token, or per load; the mean over repetitions."""
        return statistics.fmean(spent.wall_s for spent in self.spent) / (self.n_tokens or 1)

    @property
    def wall_s_deviation(self) -> float | None:
        """The standard deviation of a repetition, per token or per load."""
        deviation = _deviation([spent.wall_s for spent in self.spent])
        return None if deviation is None else deviation / (self.n_tokens or 1)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all threads per token, or per load; the mean over repetitions."""
        return statistics.fmean(spent.cpu_s for spent in self.spent) / (self.n_tokens or 1)

    def _rates(self) -> list[float]:
        return [self.n_tokens / spent.wall_s for spent in self.spent]

    def to_rows(self) -> list[dict[str, object]]:
        """One row: what `as_dict` says."""
        return [self.as_dict()]

    def as_dict(self) -> dict[str, object]:
        """The fields, and what is computed from them, as plain values."""
        return {
            "kernels": self.kernels,
            "arithmetic": self.arithmetic,
            "threads": self.threads,
            "test": self.test,
            "n_tokens": self.n_tokens,
            "tokens_per_s": self.tokens_per_s,
            "tokens_per_s_deviation": self.tokens_per_s_deviation,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "samples_wall_s": [spent.wall_s for spent in self.spent],
            "samples_cpu_s": [spent.cpu_s for spent in self.spent],
        }


@dataclass(frozen=True)
class Subject(Rows):
    """The model that was measured.

    Attributes:
        name: the last part of the path or name that was given.
        types: of its matrices, the one that takes most bytes first.
        n_bytes: of all weights. context: positions that it can hold.
    """

    name: str
    format: str
    types: tuple[str, ...]
    n_bytes: int
    n_parameters: int
    context: int

    @classmethod
    def of(cls, name: str, checkpoint: Checkpoint) -> Subject:
        """The facts that tell models apart."""
        n_bytes: Counter[str] = Counter()
        for tensor in checkpoint.tensors.values():
            if len(tensor.shape) == 2:
                n_bytes[tensor.type] += tensor.own_bytes
        return cls(
            name=name,
            format=checkpoint.format,
            types=tuple(type_name for type_name, _ in n_bytes.most_common()),
            n_bytes=checkpoint.n_bytes,
            n_parameters=checkpoint.n_parameters,
            context=checkpoint.config.max_seq_len,
        )


@dataclass(frozen=True)
class Report(Rows):
    """All rows of one model.

    Attributes:
        n_prompt, n_tokens: positions of the prompt, and single tokens; 0 where left out.
        repetitions: how many were asked for.
        rows: in the order in which they were asked for; a row has at least one repetition.
        others: what other programs did meanwhile.
        notes: what was left out, as sentences.
        cut_short: whether it was interrupted.
        elapsed_s: how long everything took, with the runs that are not counted.
    """

    rows_of = ("rows",)

    subject: Subject
    n_prompt: int
    n_tokens: int
    repetitions: int
    rows: tuple[Row, ...]
    others: OtherPrograms
    notes: tuple[str, ...]
    cut_short: bool
    elapsed_s: float

    def __str__(self) -> str:
        heads = ("model", "size", "parameters", "kernels", "arithmetic", "threads", "test",
                 "tokens/s", "ms", "CPU ms")  # fmt: skip
        lines = [lay_out(heads, [self._cells(row) for row in self.rows], "<>><<><>>>"), ""]
        lines.append("ms and CPU ms, which adds up all threads, are per token, or for one load.")
        lines.append(f"{one_line(_machine_line())}; {self.others}.")
        if self.others.are_busy:
            lines.append(
                "The machine was busy: on an idle one these times would be shorter and would vary "
                "less."
            )
        lines += self.notes
        if self.cut_short:
            fewest = min((len(row.spent) for row in self.rows), default=0)
            lines.append(
                f"Interrupted: at least {fewest} of {self.repetitions} repetitions are in the "
                f"table; tests that had none are missing."
            )
        return "\n".join(lines)

    def _cells(self, row: Row) -> tuple[object, ...]:
        subject = self.subject
        rate = None
        if row.tokens_per_s is not None:
            rate = _plus_minus(row.tokens_per_s, row.tokens_per_s_deviation)
        deviation = row.wall_s_deviation
        wall = _plus_minus(1e3 * row.wall_s, None if deviation is None else 1e3 * deviation)
        return (
            f"{one_line(subject.name, 40)} {' '.join(subject.types)}",
            f"{mib(subject.n_bytes)} MiB", _count(subject.n_parameters),
            row.kernels, row.arithmetic, row.threads, row.test, rate, wall,
            _plus_minus(1e3 * row.cpu_s, None),
        )  # fmt: skip

    def as_dict(self) -> dict[str, object]:
        """One document of plain values; docs/bench.md says what each name means."""
        return {
            "schema": SCHEMA,
            "model": asdict(self.subject),
            "machine": machine()
            | {
                "n_cores": self.others.n_cores,
                "load_average": self.others.load_average,
                "cores_used_by_others": self.others.cores_used,
                "is_busy": self.others.are_busy,
            },
            "n_prompt": self.n_prompt,
            "n_tokens": self.n_tokens,
            "repetitions": self.repetitions,
            "cut_short": self.cut_short,
            "elapsed_s": self.elapsed_s,
            "notes": list(self.notes),
            "rows": [row.as_dict() for row in self.rows],
        }


def machine() -> dict[str, object]:
    """System, processor and versions; numba's is None where it is not installed."""
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = None
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba,
        "llama_edu": sys.modules["llama_edu"].__version__,
    }


def _machine_line() -> str:
    facts = machine()
    numba = f"numba {facts['numba']}" if facts["numba"] else "no numba"
    return (
        f"{facts['system']} {facts['processor']}, Python {facts['python']}, numpy "
        f"{facts['numpy']}, {numba}, llama_edu {facts['llama_edu']}"
    )


def _deviation(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _plus_minus(value: float, deviation: float | None) -> str:
    digits = 3 if value < 1 else 2 if value < 100 else 1
    spread = "" if deviation is None else f" ± {deviation:.{digits}f}"
    return f"{value:.{digits}f}{spread}"


def _count(n: int) -> str:
    """A number of parameters: "134.1 M"."""
    return f"{n / 1e9:.2f} B" if n >= 1e9 else f"{n / 1e6:.1f} M"
