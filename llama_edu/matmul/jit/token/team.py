"""The threads that compute tokens together, and their memory.

Helpers are Python threads that stay in compiled code from token to token, and go to sleep when none
comes. A computation that finds its team at work, or that was forked from the process that started
it, takes another one.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from llama_edu.matmul.jit import product
from llama_edu.matmul.jit.machine_code import (
    address_of,
    compile_for,
    forget_stale_code,
    is_kept,
)
from llama_edu.matmul.jit.token import ahead, decode, functions, steps
from llama_edu.matmul.jit.token import places as at
from llama_edu.matmul.jit.token.pace import Pace
from llama_edu.matmul.jit.token.tables import Tables

forget_stale_code(decode.compute, (*Path(__file__).parent.glob("*.py"), *product.SOURCES))

_LINE = 64


class _Memory:
    """What the threads of a team read and write; helpers hold this and not the team."""

    def __init__(self, tables: Tables, threads: int) -> None:
        sizes = tables.sizes
        n_steps = int(sizes[at.N_LAYERS] * sizes[at.STEPS_OF_LAYER]) + 1
        self.control = np.zeros(at.FIRST_STEP + at.STEP_WORDS * n_steps, np.int64)
        self.control[at.YIELD] = _in_c_library("sched_yield")
        self.control[at.SLEEP] = _in_c_library("usleep")
        self.words = memoryview(self.control.data)  # quicker than the array, a number at a time
        self.shared, self._of_shared = _buffers(_shared_bytes(sizes))
        start = int(self.shared[at.X]) - self._of_shared.ctypes.data
        self.x = self._of_shared[start : start + 4 * sizes[at.DIM]].view(np.float32)[np.newaxis]
        self.privates, self._of_private = [], []
        widest = int(tables.matrices[:, at.COLUMNS].max()) * 4
        rows = int(tables.matrices[:-1, at.ROWS].max()) * 4
        n_bytes = [8 * at.N_KINDS, widest, *[widest] * at.N_KINDS, rows, rows, 0, rows]
        for _ in range(threads):
            addresses, buffer = _buffers(n_bytes)
            self.privates.append(addresses)
            self._of_private.append(buffer)
        self._scores = np.empty((0, 0), np.float32)
        self._tables = tables
        parts = (tables.matrices, tables.norms, self.control, self.shared)
        self.team = np.array(
            [
                *sizes,
                threads,
                *map(_address, parts),
                *functions_of_a_token(bool(sizes[at.N_EXPERTS])),
            ],
            np.int64,
        )
        self.bells = [threading.Lock() for _ in range(threads)]
        self.is_over = False

    def make_room(self, capacity: int) -> None:
        """Let one head have this many scores; between tokens only."""
        if self._scores.shape[1] < capacity:
            self._scores = np.empty((len(self.privates), capacity), np.float32)
            for private, scores in zip(self.privates, self._scores, strict=True):
                private[at.SCORES] = scores.ctypes.data


class Team:
    """Threads for tokens of one model, one token at a time.

    Args:
        tables: the model. threads: how many at most, this one counted.
    """

    def __init__(self, tables: Tables, threads: int) -> None:
        threads = min(threads, at.MOST_HELPERS)
        self._memory = _Memory(tables, threads)
        self._compute = partial(
            decode.compute, _address(self._memory.team), _address(self._memory.privates[0]), 0, 0
        )
        self._pid = os.getpid()
        self._is_working = threading.Lock()
        self.pace = Pace(threads)
        for me in range(1, threads):
            self._memory.bells[me].acquire()
            threading.Thread(
                target=_serve, args=(self._memory, me), name=f"llama-edu-token-{me}", daemon=True
            ).start()
        weakref.finalize(self, _dismiss, self._memory)

    @property
    def is_of_this_process(self) -> bool:
        """Whether its threads run here: those of a parent are not in a forked child."""
        return self._pid == os.getpid()

    def try_to_enter(self) -> bool:
        """Whether this team was free; it is then taken."""
        return self._is_working.acquire(blocking=False)

    def leave(self) -> None:
        """Let others have it."""
        self._is_working.release()

    @property
    def x(self) -> np.ndarray:
        """(1, dim) float32, where the caller writes the embedding of a token."""
        return self._memory.x

    def compute(
        self, rotations: np.ndarray, keys: np.ndarray, values: np.ndarray, position: int,
        logits: np.ndarray,
    ) -> bool:  # fmt: skip
        """One token, whose embedding is in `x`; the caller has entered.

        Args:
            rotations: (head_dim / 2,) complex64.
            keys, values: (n_layers, n_kv_heads, capacity, head_dim) float32, in which `position`
                is filled. logits: (vocab_size,) float32, filled.
        Returns:
            False if a router's scores were not finite, and the result is none.
        """
        memory, words, threads = self._memory, self._memory.words, self.pace.threads
        memory.make_room(keys.shape[2])
        words[at.WANTED], words[at.CAPACITY], words[at.POSITION] = threads, keys.shape[2], position
        words[at.ROTATIONS], words[at.LOGITS] = _address(rotations), _address(logits)
        words[at.KEYS], words[at.VALUES] = _address(keys), _address(values)
        words[at.NOT_FINITE] = words[at.LONG_WAITS] = 0
        start = time.perf_counter()
        for me in range(1, threads):
            if not words[at.FIRST_HELPER + me] and memory.bells[me].locked():
                memory.bells[me].release()
        self._compute()
        self.pace.record(time.perf_counter() - start, words[at.LONG_WAITS])
        return not words[at.NOT_FINITE]


def _serve(memory: _Memory, me: int) -> None:
    """The life of a helper."""
    team, private, token = _address(memory.team), _address(memory.privates[me]), 0
    while True:
        memory.bells[me].acquire()
        if memory.is_over:
            return
        token = decode.compute(team, private, me, token)


def _dismiss(memory: _Memory) -> None:
    memory.is_over = True
    for bell in memory.bells[1:]:
        if bell.locked():
            bell.release()


def compile_ahead(has_experts: bool) -> None:
    """Let another process compile what tokens need, if it is not on disk; return at once."""
    if not all(is_kept(function) for function in _order(has_experts)):
        ahead.start(has_experts)


@cache
def functions_of_a_token(has_experts: bool) -> tuple[int, ...]:
    """Addresses of compiled functions, in the order of places.py from QUERIES on."""
    ahead.wait(has_experts)
    compile_for("a whole token", decode.compute, 4)
    return tuple(address_of("a whole token", function) for function in _order(has_experts))


def _order(has_experts: bool) -> tuple[Callable[..., None], ...]:
    return (
        functions.queries_keys_values, functions.attention, functions.added,
        functions.mixture if has_experts else functions.feed_forward,
        functions.logits, steps.norm_at, steps.gated_at, steps.head_at,
    )  # fmt: skip


def _address(array: np.ndarray) -> int:
    """Like array.ctypes.data, in a third of the time."""
    address: int = array.__array_interface__["data"][0]
    return address


def _shared_bytes(sizes: np.ndarray) -> list[int]:
    dim, hidden_dim, n_used = (int(sizes[i]) for i in (at.DIM, at.HIDDEN_DIM, at.N_USED))
    q, kv = (int(sizes[i] * sizes[at.HEAD_DIM]) for i in (at.N_HEADS, at.N_KV_HEADS))
    numbers = [dim, q, kv, kv, q, hidden_dim * max(1, n_used), 2 * n_used, n_used]
    return [4 * n for n in numbers]


def _buffers(n_bytes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Addresses of buffers of these sizes, each on cache lines of its own, and their memory."""
    padded = [-(-n // _LINE) * _LINE for n in n_bytes]
    memory = np.zeros(sum(padded) + _LINE, np.uint8)
    first = -(-memory.ctypes.data // _LINE) * _LINE
    starts = np.cumsum([0, *padded[:-1]])
    return (first + starts).astype(np.int64), memory


def _in_c_library(name: str) -> int:
    """The address of a function; 0 where the system has none."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0
