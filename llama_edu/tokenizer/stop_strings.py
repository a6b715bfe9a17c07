"""Strings that end a text, found while it streams, so that no part of one is ever shown.

Text that may begin a stop string is held back until it is certain that it does not. All strings are
searched for at once, character by character, so that it does not matter how a text is cut into
tokens: the string whose last character comes first ends the text, the longest of several.
Source: A. V. Aho and M. J. Corasick, Efficient string matching, Communications of the ACM 18, 1975.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from llama_edu.errors import RequestError

#: Characters of all stop strings together; a node of the tree for each would fill the memory.
MOST_CHARACTERS = 1_000_000


class StopStrings:
    """Lets text pass up to the first stop string.

    Attributes:
        found: the stop string that ended the text; "" until then.
    """

    def __init__(self, stop: str | Sequence[str] = ()) -> None:
        """Prepare a search.

        Raises:
            RequestError: a stop string is empty or no text, or there are too many characters.
        """
        strings = [stop] if isinstance(stop, str) else list(stop)
        for string in strings:
            if not isinstance(string, str) or not string:
                raise RequestError(
                    f"stop: one of the strings is {string!r:.40}, expected text of one character "
                    f"or more; leave it out"
                )
        total = sum(map(len, strings))
        if total > MOST_CHARACTERS:
            raise RequestError(
                f"stop: {total:,} characters in all, expected at most {MOST_CHARACTERS:,}"
            )
        self.found = ""
        self._held = ""
        self._state = 0
        self._next: list[dict[str, int]] = [{}]  # a tree of all strings: node -> character -> node
        self._depth = [0]
        self._match = [""]  # the longest stop string that ends at a node
        self._shorter = [0]  # the node of the longest proper suffix that is in the tree
        for string in strings:
            self._add(string)
        self._link()

    def push(self, text: str) -> str:
        """The text that has become certain; after a stop string, nothing more."""
        if self.found:
            return ""
        self._held += text
        start = len(self._held) - len(text)
        for end, character in enumerate(text, start + 1):
            while self._state and character not in self._next[self._state]:
                self._state = self._shorter[self._state]
            self._state = self._next[self._state].get(character, 0)
            if self._match[self._state]:
                self.found = self._match[self._state]
                certain, self._held = self._held[: end - len(self.found)], ""
                return certain
        n_certain = len(self._held) - self._depth[self._state]
        certain, self._held = self._held[:n_certain], self._held[n_certain:]
        return certain

    def finish(self) -> str:
        """The text that was held back, once it is certain that nothing follows."""
        rest, self._held, self._state = self._held, "", 0
        return rest

    def _add(self, string: str) -> None:
        node = 0
        for character in string:
            if character not in self._next[node]:
                self._next[node][character] = len(self._next)
                self._next.append({})
                self._depth.append(self._depth[node] + 1)
                self._match.append("")
                self._shorter.append(0)
            node = self._next[node][character]
        self._match[node] = string

    def _link(self) -> None:
        """Where to go on from a node whose string does not go on: breadth first."""
        waiting = deque(self._next[0].values())
        while waiting:
            node = waiting.popleft()
            for character, child in self._next[node].items():
                waiting.append(child)
                suffix = self._shorter[node]
                while suffix and character not in self._next[suffix]:
                    suffix = self._shorter[suffix]
                self._shorter[child] = self._next[suffix].get(character, 0)
                self._match[child] = self._match[child] or self._match[self._shorter[child]]
