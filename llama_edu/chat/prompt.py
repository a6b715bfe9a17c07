"""Messages to the ids that a model reads; what somebody types never becomes a special token.

A special token is a command: `<|im_end|>` ends a turn. In a rendered conversation it looks like
text, and so does the `<|im_end|>` that somebody typed, quoted, or made by ending a message with
"<|im_" where the template goes on with "end|>". Escaping cannot tell them apart, and a template may
trim, replace and join what it is given, so that positions are lost as well.

So the conversation is rendered twice (typed.py): as it is, and with a stand-in for every character
of the messages that occurs in any special token's name. Special tokens are looked for in the second
text, where they can only be the template's own: one that has a typed character in it is not found.
The parts between them get their characters back and are encoded as text. If a template's result
with stand-ins is another one than without, it looked at the messages in a way that cannot be
followed, and nothing is encoded.

Where no special token's name stands in the messages, this gives the ids that llama.cpp gives for
the rendered text with parse_special=true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llama_edu.chat.renderer import Renderer
from llama_edu.chat.template import ChatTemplate
from llama_edu.errors import FormatError, RequestError
from llama_edu.tokenizer.protocol import Tokenizer

#: Code points that mean nothing to anybody: the two private planes, without their last two.
_PRIVATE = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


@dataclass(frozen=True)
class Prompt:
    """A rendered conversation.

    Attributes:
        text: what the template wrote. ids: what the model reads, BOS included where it reads one.
        n_typed_specials: how many special tokens' names stand in it as text, because a message
            brought or completed them.
    """

    text: str
    ids: tuple[int, ...]
    n_typed_specials: int = 0


class PromptWriter:
    """Writes prompts for one template and one tokenizer; holds the process that renders."""

    def __init__(
        self, template: ChatTemplate, tokenizer: Tokenizer, renderer: Renderer | None = None
    ) -> None:
        self.template = template
        self._tokenizer = tokenizer
        self._renderer = renderer or Renderer()
        special = {token: tokenizer.name(token) for token in tokenizer.special_ids}
        self._names = {token: name for token, name in special.items() if name}
        self._ids = {name: token for token, name in sorted(self._names.items(), reverse=True)}
        self._pattern = _any_of(self._ids)
        self._characters = "".join(sorted(set().union(*map(set, self._ids))))

    @property
    def missing_pieces(self) -> tuple[str, ...]:
        """Special pieces that the template needs, and the vocabulary does not have."""
        return tuple(name for name in self.template.needs if name not in self._ids)

    def prompt(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
    ) -> Prompt:
        """Render messages and encode the result.

        Args:
            messages: each with "role" and "content"; see messages.checked.
            add_generation_prompt: whether the template opens an answer at the end.
        Raises:
            FormatError: the template cannot be used. RequestError: it refuses these messages, or a
                message has half a surrogate pair.
        """
        where = self.template.where
        stand_ins = self._stand_ins(messages)
        variables = {
            "bos_token": self._names.get(self._tokenizer.bos_id, ""),
            "eos_token": self._names.get(self._tokenizer.eos_id, ""),
            "add_generation_prompt": add_generation_prompt,
            "tools": None,
            "documents": None,
        }
        written = self._renderer.render(
            self.template.text, messages, variables, (self._characters, stand_ins), where=where
        )
        real = str.maketrans(stand_ins, self._characters)
        if written.marked.translate(real) != written.text:
            raise FormatError(
                f"{where}: changes the messages in a way that hides who wrote what, so that typed "
                f"text could not be told from its own special tokens; give another one with "
                f"--template, or template= in Python"
            )
        cut = self._pattern.split(written.marked)
        parts: list[str | int] = [
            self._ids[part] if i % 2 else part.translate(real) for i, part in enumerate(cut)
        ]
        n_typed = len(self._pattern.findall(written.text)) - len(cut) // 2
        return Prompt(written.text, tuple(self._encoded(parts)), n_typed)

    def close(self) -> None:
        """End the process that renders."""
        self._renderer.close()

    def _encoded(self, parts: Sequence[str | int]) -> list[int]:
        """The ids; BOS comes from the template, or else from the file, but not from both."""
        filled = [part for part in parts if part != ""]
        has_bos = bool(filled) and filled[0] == self._tokenizer.bos_id
        return self._tokenizer.encode_parts(filled, bos=not has_bos)

    def _stand_ins(self, messages: Sequence[Mapping[str, str]]) -> str:
        """As many code points as there are characters to hide, none of which occurs anywhere."""
        used = set(self.template.text).union(*(m["content"] for m in messages), self._characters)
        found: list[str] = []
        for plane in _PRIVATE:
            for code in plane:
                if len(found) == len(self._characters):
                    return "".join(found)
                if chr(code) not in used:
                    found.append(chr(code))
        raise RequestError(
            "messages: use nearly all code points of Unicode's private planes, expected text"
        )


def _any_of(names: Mapping[str, int]) -> re.Pattern[str]:
    """Finds any of these names, the longest first; nothing if there are none."""
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("(" + ("|".join(map(re.escape, longest_first)) or "(?!)") + ")")
