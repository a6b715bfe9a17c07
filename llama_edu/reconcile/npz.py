"""Reading an untrusted .npz: plain numbers, each size compared with the bytes that are there."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.text import quoted

#: More arrays than a trace of any LLaMA has.
_MOST_ARRAYS = 20_000

_DTYPES = ("<f4", "<f8", "<i8")


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that is not compressed, as numpy.savez writes it; copies.

    Raises:
        FormatError: it is not such a file, is damaged, or holds other than float32, float64 and
            int64 numbers.
    """
    where = Path(path)
    try:
        with zipfile.ZipFile(where) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if len(members) > _MOST_ARRAYS or total > where.stat().st_size:
                raise FormatError(
                    f"{where}: claims {len(members):,} arrays of {total:,} bytes, the file has "
                    f"{where.stat().st_size:,}; it is damaged, or not written by numpy.savez"
                )
            return {m.filename.removesuffix(".npy"): _array(archive, m, where) for m in members}
    except FileNotFoundError:
        raise FormatError(f"{where}: no such file") from None
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise FormatError(
            f"{where}: cannot be read as .npz ({error}), expected a file that numpy.savez wrote"
        ) from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: Path) -> np.ndarray:
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("a header of another version than 1.0")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        n_bytes = math.prod(shape) * dtype.itemsize
        n_left = member.file_size - file.tell()
        if dtype.str not in _DTYPES or by_columns or min(shape, default=1) < 0 or n_bytes != n_left:
            raise FormatError(
                f"{where}: {quoted(member.filename, 80)} is {dtype} of shape {shape} in {n_left:,} "
                f"bytes, expected float32, float64 or int64 numbers by rows"
            )
        data = file.read()
    return np.frombuffer(bytearray(data), dtype).reshape(shape)
