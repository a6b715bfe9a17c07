"""One file on many machines: each has a page cache of its own, so that nothing is shared.

Speeds of a disk and of memory are measured here. Other machines and the network between them are
assumptions with names, and everything else is a division.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.experiments.observe.subjects import read_through, weight_file
from llama_edu.files.mapped import MappedFile
from llama_edu.pages.residency import evict
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.table import Rows, lay_out

#: Weights of the model that the table is about, and how they are stored.
N_WEIGHTS, STORED = 70_000_000_000, "q4_0"

#: How often each speed is measured; the best counts.
_LAPS = 3


@dataclass(frozen=True)
class Speeds(Rows):
    """Of this machine, in bytes per second, the best of several laps, one thread.

    Attributes:
        disk: a file read from front to back that was not in memory; None if it cannot be evicted.
        copied: the same file, read again: from the page cache into private memory.
        mapped: the same file through a mapping: from the page cache, without a copy.
    """

    disk: float | None
    copied: float
    mapped: float


@dataclass(frozen=True)
class Network(Rows):
    """Assumed, in bytes per second: what one host receives, and what the server sends in all."""

    host: float = 10e9 / 8
    server: float = 25e9 / 8


@dataclass(frozen=True)
class HostsCost(Rows):
    """What a number of hosts need for one file, in bytes and in seconds at best.

    Attributes:
        cached_bytes: in page caches, all hosts together, however many workers each has.
        network_bytes: sent, all hosts together, once.
        arrive_s: until each host has received the file, all at the same time. So long takes the
            first pass of a mapping over the network, and each later one if memory is too small.
        staged_s: until each has it on a disk of its own, written as fast as it reads.
        fits_s: a token that needs every weight, where the file stays in memory.
        too_large_s: the same where memory is too small, from a disk of its own.
    """

    n_hosts: int
    cached_bytes: int
    network_bytes: int
    arrive_s: float
    staged_s: float
    fits_s: float
    too_large_s: float


@dataclass(frozen=True)
class Scale(Rows):
    """The speeds, the assumptions, and what follows from them.

    Attributes:
        file_bytes: of the file that the costs are of. measured_bytes: of the one that was read.
        disk_bytes_per_s: what was computed with; that of the network where no disk was measured.
    """

    rows_of = ("hosts",)

    file_bytes: int
    speeds: Speeds
    network: Network
    hosts: tuple[HostsCost, ...]
    measured_bytes: int
    disk_bytes_per_s: float

    def __str__(self) -> str:
        speeds, network = self.speeds, self.network
        disk = "could not be measured" if speeds.disk is None else _gigabytes(speeds.disk)
        assumed = f" (assumed: {_gigabytes(self.disk_bytes_per_s)})" if speeds.disk is None else ""
        rows = [
            (cost.n_hosts, f"{cost.cached_bytes / 1e9:,.0f}", f"{cost.network_bytes / 1e9:,.0f}",
             f"{cost.arrive_s:,.0f}", f"{cost.staged_s:,.0f}", f"{cost.fits_s:,.1f}",
             f"{cost.too_large_s:,.0f}")
            for cost in self.hosts
        ]  # fmt: skip
        heads = ("hosts", "cached, GB", "sent, GB", "received, s", "staged, s", "token, fits, s",
                 "token, too large, s")  # fmt: skip
        return (
            f"Computed, not measured: a file of {self.file_bytes / 1e9:,.1f} GB on several hosts\n"
            f"{lay_out(heads, rows, '>')}\n"
            f"Measured here, with a file of {self.measured_bytes:,} bytes and one thread: disk "
            f"{disk}{assumed}, page cache copied {_gigabytes(speeds.copied)}, mapped "
            f"{_gigabytes(speeds.mapped)}.\n"
            f"Assumed: hosts like this one; a network that gives a host "
            f"{_gigabytes(network.host)}, and a server that sends {_gigabytes(network.server)} in "
            f"all; a disk that writes as fast as it reads."
        )


def scale(
    path: str | Path | None = None,
    *,
    n_bytes: int = 256 << 20,
    folder: str | Path | None = None,
    n_hosts: Sequence[int] = (1, 8, 64),
    file_bytes: int | None = None,
    network: Network | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Scale:
    """Measure this machine's disk and page cache, and compute what a file costs on several hosts.

    Args:
        path: the file to measure with; None makes a temporary one of `n_bytes` in `folder`.
        file_bytes: of the file that the costs are of; None takes 70 billion weights in q4_0.
        network: what is assumed of it.
    Raises:
        RequestError: a number of hosts or bytes, or a speed, that is not positive.
    """
    network = network or Network()
    if file_bytes is None:
        block = BLOCK_TYPES[STORED]
        file_bytes = N_WEIGHTS // block.block_size * block.dtype.itemsize
    with weight_file(path, n_bytes, folder) as file:
        measured_bytes = file.stat().st_size
        speeds = _speeds(file, clock)
    disk = speeds.disk or network.host
    costs = tuple(hosts_cost(file_bytes, n, disk, speeds.mapped, network) for n in n_hosts)
    return Scale(file_bytes, speeds, network, costs, measured_bytes, disk)


def hosts_cost(
    file_bytes: int, n_hosts: int, disk: float, mapped: float, network: Network
) -> HostsCost:
    """The costs of one number of hosts.

    Args:
        disk, mapped: bytes per second of each host.
    Raises:
        RequestError: a number that is not positive.
    """
    given = {"file_bytes": file_bytes, "n_hosts": n_hosts, "disk": disk, "mapped": mapped,
             "network.host": network.host, "network.server": network.server}  # fmt: skip
    for name, value in given.items():
        if not value > 0:
            raise RequestError(f"scale: {name} is {value}, expected more than 0")
    arrive_s = file_bytes / min(network.host, network.server / n_hosts)
    return HostsCost(
        n_hosts, n_hosts * file_bytes, n_hosts * file_bytes, arrive_s,
        max(arrive_s, file_bytes / disk), file_bytes / mapped, file_bytes / disk,
    )  # fmt: skip


def _speeds(file: Path, clock: Callable[[], float]) -> Speeds:
    n_bytes = file.stat().st_size
    disk = [n_bytes / _timed(read_through, file, clock) for _ in range(_LAPS) if _evicted(file)]
    read_through(file)
    copied = [n_bytes / _timed(read_through, file, clock) for _ in range(_LAPS)]
    mapped = [n_bytes / _timed(_pass, file, clock) for _ in range(_LAPS)]
    return Speeds(max(disk, default=None), max(copied), max(mapped))


def _timed(use: Callable[[Path], object], file: Path, clock: Callable[[], float]) -> float:
    start = clock()
    use(file)
    return max(clock() - start, 1e-9)


def _evicted(file: Path) -> bool:
    try:
        return not evict(file).after.n_resident
    except MeasurementError:
        return False


def _pass(file: Path) -> None:
    """Map the file and read every byte once, as a token of a dense model does."""
    with MappedFile(file) as mapped:
        words = np.frombuffer(mapped.mmap, np.uint64, mapped.n_bytes // 8)
        np.bitwise_xor.reduce(words)
        del words


def _gigabytes(per_s: float) -> str:
    return f"{per_s / 1e9:.2f} GB/s"
