"""Messages: who said what. Checked once, where they come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llama_edu.errors import RequestError
from llama_edu.text import quoted

#: Who may speak; a template may accept fewer.
ROLES = ("system", "user", "assistant")

Message = dict[str, str]


def checked(messages: Iterable[Mapping[str, object]]) -> list[Message]:
    """Copies of messages that have a known role, a text, and nothing else.

    Raises:
        RequestError: a message has an unknown role, no text, or a key that would be dropped.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
        raise RequestError(
            f"messages: {quoted(messages, 40)}, expected a list of "
            f'{{"role": ..., "content": ...}}; put the one message into a list'
        )
    return [_checked(f"messages[{i}]", message) for i, message in enumerate(messages)]


def _checked(where: str, message: object) -> Message:
    if not isinstance(message, Mapping):
        raise RequestError(
            f'{where}: {quoted(message, 40)}, expected {{"role": ..., "content": ...}}'
        )
    for key in ("role", "content"):
        if key not in message:
            raise RequestError(f'{where}: has no {key}, expected {{"role": ..., "content": ...}}')
    role, content = message["role"], message["content"]
    if not isinstance(role, str) or role not in ROLES:
        raise RequestError(f"{where}: role {quoted(role, 40)}, expected {', '.join(ROLES)}")
    more = [key for key in message if key not in ("role", "content")]
    if more:
        raise RequestError(
            f"{where}: has {quoted(more[0], 40)}, expected role and content alone; tools, names "
            f"and pictures are not supported"
        )
    return {"role": role, "content": checked_text(content, f"{where}: content")}


def checked_text(text: object, where: str) -> str:
    """The text itself; RequestError for anything that is no text."""
    if not isinstance(text, str):
        raise RequestError(f"{where} is {quoted(text, 40)}, expected text")
    return str(text)
