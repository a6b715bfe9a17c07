"""What is open cannot be pickled, copied or sent to another process; the error says what can."""

from __future__ import annotations

from typing import Any

from llama_edu.errors import RequestError


class Unsendable:
    """Raises RequestError when it is pickled or copied, as multiprocessing and copy do."""

    def _send_instead(self) -> str:
        """What to send in its place, as the end of a sentence."""
        return "the path of its model"

    def __reduce_ex__(self, protocol: Any) -> str | tuple[Any, ...]:
        raise RequestError(
            f"{type(self).__name__}: cannot be pickled, copied or sent to another process, because "
            f"it holds a mapped file; send {self._send_instead()} and load it there"
        )
