"""An array of colour numbers as a PNG file, with nothing but zlib: fast enough for animation."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from llama_edu.errors import ShapeError

#: A palette's entries are named by one byte.
_MOST_COLOURS = 256

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def palette_png(pixels: np.ndarray, colours: np.ndarray, *, level: int = 1) -> bytes:
    """Encode an image of palette colours.

    Args:
        pixels: (height, width) uint8, row by row from the top: which colour.
        colours: (n, 4) uint8, red, green, blue and opacity; every number in `pixels` is below n.
        level: of compression; 1 is fast and, for page maps, hardly larger than 9.
    Raises:
        ShapeError: a shape or a colour number that does not fit.
    Source: PNG specification, third edition, section 11.2.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or not pixels.size:
        raise ShapeError(
            f"PNG: pixels are {pixels.shape} {pixels.dtype}, expected (height, width) uint8"
        )
    if colours.ndim != 2 or colours.shape[1] != 4 or not 0 < len(colours) <= _MOST_COLOURS:
        raise ShapeError(f"PNG: colours are {colours.shape}, expected (1 to 256, 4)")
    if int(pixels.max()) >= len(colours):
        raise ShapeError(
            f"PNG: colour {int(pixels.max())} is used, expected 0 to {len(colours) - 1}"
        )
    height, width = pixels.shape
    # each row begins with the number of its filter; 0 leaves it as it is
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = pixels
    palette = np.ascontiguousarray(colours, np.uint8)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", palette[:, :3].tobytes())
        + _chunk(b"tRNS", palette[:, 3].tobytes())
        + _chunk(b"IDAT", zlib.compress(rows.data, level))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
