"""An array of color numbers as a PNG file, with zlib alone: fast enough for animation."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from llama_edu.errors import ShapeError

#: The number of a color in the palette is one byte.
_MOST_COLORS = 256

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def palette_png(pixels: np.ndarray, colors: np.ndarray, *, level: int = 1) -> bytes:
    """Encode an image of palette colors.

    Args:
        pixels: (height, width) uint8, row by row from the top: number of a color.
        colors: (n, 4) uint8, red, green, blue and opacity; every number in `pixels` is below n.
        level: of compression; 1 is fast and, for page maps, gives files hardly larger than 9.
    Raises:
        ShapeError: wrong shapes, or the number of a color that does not exist.
    Source: PNG specification, third edition, section 11.2.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or not pixels.size:
        raise ShapeError(
            f"PNG: pixels are {pixels.shape} {pixels.dtype}, expected (height, width) uint8"
        )
    if colors.ndim != 2 or colors.shape[1] != 4 or not 0 < len(colors) <= _MOST_COLORS:
        raise ShapeError(f"PNG: colors are {colors.shape}, expected (1 to 256, 4)")
    if int(pixels.max()) >= len(colors):
        raise ShapeError(f"PNG: color {int(pixels.max())} is used, expected 0 to {len(colors) - 1}")
    height, width = pixels.shape
    # each row begins with the number of its filter; 0 leaves it as it is
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = pixels
    palette = np.ascontiguousarray(colors, np.uint8)
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
