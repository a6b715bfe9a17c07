"""Which chat template a checkpoint has, or which was asked for. Nothing is evaluated here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llama_edu.chat.named import TEMPLATES
from llama_edu.chat.renderer import MOST_TEMPLATE_CHARACTERS
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.huggingface.companions import CHAT_TEMPLATE
from llama_edu.files.layout import Checkpoint
from llama_edu.text import one_line, quoted


@dataclass(frozen=True)
class ChatTemplate:
    """The program, in jinja2's language, that writes a conversation as one text.

    Attributes:
        text: the program. where: what it is called in errors.
        name: "default", or the name under which the file or this package knows it.
        needs: special pieces that it writes, as far as known. stop: strings that end an answer.
    """

    text: str
    where: str
    name: str = "default"
    needs: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ChatTemplate({self.where!r}, {len(self.text):,} characters)"


def template_of(
    checkpoint: Checkpoint, given: str | os.PathLike[str] | None = None
) -> ChatTemplate:
    """The template that a checkpoint brings along, or the given one.

    Args:
        given: the name of one of several templates in the file ("tool_use"), one of ours
            ("chatml"), or a file with a template; None for the file's default.
    Raises:
        FormatError: the file's template is no text, or too large.
        RequestError: there is none, or no template of that name.
    """
    own = _own_templates(checkpoint)
    file = one_line(checkpoint.paths[0].name)
    if given is None:
        if "default" not in own:
            raise RequestError(
                f"{file}: has no chat template{_others(own)}; give one with --template, or "
                f"template= in Python: {_choices(own)}, or a file"
            )
        return _checked(own["default"], f"{file}: its chat template", "default")
    name = os.fspath(given)
    if name in own:
        return _checked(own[name], f"{file}: its chat template {quoted(name, 40)}", name)
    if name in TEMPLATES:
        ours = TEMPLATES[name]
        return ChatTemplate(ours.text, f"template {name}", name, ours.needs, ours.stop)
    path = Path(name).expanduser()
    if path.is_file():
        with path.open("rb") as opened:
            data = opened.read(4 * MOST_TEMPLATE_CHARACTERS + 4)
        return _checked(data.decode("utf-8-sig", "replace"), one_line(str(path)), path.stem)
    raise RequestError(
        f"template: {quoted(name)} is neither a file nor a known name; expected a file with a "
        f"jinja2 template, or {_choices(own)}"
    )


def _own_templates(checkpoint: Checkpoint) -> dict[str, object]:
    """Name -> template of the file; a value that is no text as it is."""
    found: dict[str, object] = {}
    for key, typed in checkpoint.carried.items():
        if key == CHAT_TEMPLATE:
            found["default"] = typed.value
        elif key.startswith(f"{CHAT_TEMPLATE}."):
            found[key.removeprefix(f"{CHAT_TEMPLATE}.")] = typed.value
        elif key.endswith(".json:chat_template") and typed.value is not None:
            found.setdefault("default", typed.value)  # neither a text nor a list of templates
    return found


def _checked(text: object, where: str, name: str) -> ChatTemplate:
    if not isinstance(text, str):
        raise FormatError(
            f"{where}: is {quoted(text, 40)}, expected text; give another one with --template, or "
            f"template= in Python"
        )
    if len(text) > MOST_TEMPLATE_CHARACTERS:
        raise FormatError(
            f"{where}: has more than {MOST_TEMPLATE_CHARACTERS:,} characters; give another one "
            f"with --template, or template= in Python"
        )
    return ChatTemplate(text, where, name)


def _others(own: dict[str, object]) -> str:
    return f" but these for special uses: {', '.join(map(quoted, sorted(own)))}" if own else ""


def _choices(own: dict[str, object]) -> str:
    return ", ".join([*map(quoted, sorted(set(own) - {"default"})), *TEMPLATES])
