"""A text from a file of the user: UTF-8, or a sentence that says which byte is not."""

from __future__ import annotations

from pathlib import Path

from llama_edu.errors import RequestError


def read_text_file(path: str | Path) -> str:
    """The UTF-8 text of a file; a mark at its beginning is dropped.

    Raises:
        RequestError: it cannot be read, or it is not UTF-8.
    """
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})") from None
    return decoded(data, str(path))


def decoded(data: bytes, where: str) -> str:
    """Bytes as UTF-8 without a mark at their beginning; RequestError names the first other byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise RequestError(
            f"{where}: byte {error.start:,} is 0x{byte:02x}, which is not UTF-8, expected a text "
            f"file; if it is Latin-1, convert it with: iconv -f latin1 -t utf-8"
        ) from None
