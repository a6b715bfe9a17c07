"""Memory for a product's temporary numbers, which each thread keeps for its next product.

A megabyte that is allocated again each time often comes from the system as pages that it fills with
zeros at the first touch, one fault each. For a prompt, the tiles alone are as many pages as the
whole model has in float32.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np


class _Buffers(threading.local):
    """What this thread has, by name."""

    def __init__(self) -> None:
        self.named: dict[str, np.ndarray] = {}


_buffers = _Buffers()


def scratch(name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """An array for temporary numbers, valid until this thread asks for the same name again.

    Args:
        name: of one use in one function; what is asked for under another name stays as it is.
    Returns:
        An array of this shape and dtype, C-contiguous, with whatever it was left with. Never to be
        returned to a caller that keeps it.
    """
    dtype = np.dtype(dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    buffer = _buffers.named.get(name)
    if buffer is None or buffer.nbytes < n_bytes:
        _buffers.named[name] = buffer = np.empty(n_bytes, np.uint8)
    return np.ndarray(shape, dtype, buffer.data)
