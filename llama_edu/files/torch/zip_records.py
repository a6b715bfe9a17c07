"""Where the records of an uncompressed zip are in a mapped file; torch has written it since 1.6."""

from __future__ import annotations

import struct
import zipfile

from llama_edu.errors import FormatError
from llama_edu.files.magic_numbers import ZIP
from llama_edu.files.mapped import MappedFile
from llama_edu.text import one_line

#: Zip directories of real checkpoints are below 1 MB; longer ones are not read.
_LARGEST_DIRECTORY_BYTES = 2**20

#: Bits of a record's flags: encrypted in the old way, in the strong way, and masked names.
_ENCRYPTED = 1 | 1 << 6 | 1 << 13


def records_of(mapped: MappedFile) -> dict[str, tuple[int, int]]:
    """Where the data of each zip record is, by its name relative to the folder of data.pkl."""
    path = mapped.path
    with zipfile.ZipFile(_ZipSource(mapped)) as archive:
        infos, directory = archive.infolist(), archive.start_dir
    names = [info.filename for info in infos]
    if len(set(names)) != len(names):
        raise FormatError(f"{path}: two records of the zip have one name; it is damaged")
    pickles = [n for n in names if n == "data.pkl" or n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise FormatError(
            f"{path}: a zip with {len(pickles)} data.pkl records, expected one; this is not a "
            f"PyTorch checkpoint"
        )
    top = pickles[0].removesuffix("data.pkl")
    end, before = 0, ""
    ranges = {}
    for info in sorted(infos, key=lambda info: info.header_offset):
        if not info.filename.startswith(top):
            continue
        start, n_bytes = ranges[info.filename.removeprefix(top)] = _record_range(mapped, info)
        if info.header_offset < end or start + n_bytes > directory:
            raise FormatError(
                f"{path}: record {one_line(info.filename)} of the zip overlaps "
                f"{one_line(before) if info.header_offset < end else 'the directory'}; it is "
                f"damaged"
            )
        end, before = start + n_bytes, info.filename
    return ranges


def _record_range(mapped: MappedFile, info: zipfile.ZipInfo) -> tuple[int, int]:
    """First byte and size of a record's data, which follows a local header of variable length."""
    path = mapped.path
    if info.flag_bits & _ENCRYPTED:
        raise FormatError(
            f"{path}: record {one_line(info.filename)} is encrypted, expected plain numbers; "
            f"decrypt the file first"
        )
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise FormatError(
            f"{path}: record {one_line(info.filename)} is compressed and cannot be mapped; save "
            f"it with torch.save"
        )
    header = bytes_at(mapped, info.header_offset, 30)
    if len(header) < 30 or header[:4] != ZIP:
        raise FormatError(f"{path}: the zip has no record at byte {info.header_offset:,}")
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    start = info.header_offset + 30 + name_bytes + extra_bytes
    if start + info.file_size > mapped.n_bytes:
        raise FormatError(
            f"{path}: record {one_line(info.filename)} ends at byte "
            f"{start + info.file_size:,}, the file has {mapped.n_bytes:,}; it is truncated"
        )
    return start, info.file_size


class _ZipSource:
    """What zipfile needs of a file, on a mapping; limits the size of the zip directory."""

    def __init__(self, mapped: MappedFile) -> None:
        self._mapped = mapped
        self._offset = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Like a file's seek; OSError before the first byte, as zipfile expects."""
        offset += (0, self._offset, self._mapped.n_bytes)[whence]
        if offset < 0:
            raise OSError(f"byte {offset} is before the start")
        self._offset = offset
        return offset

    def tell(self) -> int:
        """Where the next read begins."""
        return self._offset

    def read(self, size: int | None = -1, /) -> bytes:
        """Like a file's read; FormatError for more bytes than a real directory has."""
        if size is None or size < 0:
            size = max(0, self._mapped.n_bytes - self._offset)
        if size > _LARGEST_DIRECTORY_BYTES:
            raise FormatError(
                f"{self._mapped.path}: its zip directory has {size:,} bytes, expected at most "
                f"{_LARGEST_DIRECTORY_BYTES:,}; the file is damaged"
            )
        data = bytes_at(self._mapped, self._offset, size)
        self._offset += len(data)
        return data


def bytes_at(mapped: MappedFile, offset: int, n_bytes: int) -> bytes:
    """A copy of the bytes from `offset` on, fewer if the file ends before."""
    if offset < 0:  # a slice would count from the end
        raise ValueError(f"byte {offset} is before the start")
    return mapped.data[offset : offset + n_bytes]
