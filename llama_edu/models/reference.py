"""What a name on the Hugging Face hub means, checked before anything is sent.

    org/name                          the repository's only model
    hf://org/name                     the same, whatever folders are called here
    hf://org/name@revision            of a branch, a tag or a commit
    hf://org/name@revision/file.gguf  one of its files

The form is that of the hub's own library (`hf://` of HfFileSystem).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llama_edu.errors import RequestError
from llama_edu.text import quoted

#: What begins a name on the hub; pathlib leaves one slash of it.
_SCHEME = re.compile(r"hf:/{1,2}")

#: Of an organization or of a repository, as the hub allows them: 96 ASCII characters.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)
#: Revisions with slashes: those of pull requests and of the hub's own conversions.
_REFS = re.compile(r"refs/(?:pr/\d{1,9}|convert/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})", re.ASCII)

#: Characters that mean something else in an address or in the path of some system.
_NOT_IN_FILES = frozenset('\\%?#:*"<>|@')

_FORMS = "expected hf://ORG/NAME or hf://ORG/NAME@REVISION/FILE"


@dataclass(frozen=True)
class HubReference:
    """A repository on the hub, at a revision, and perhaps one file in it.

    Attributes:
        repository: "org/name". file: path inside the repository, with slashes, or None.
        is_explicit: whether it was written with hf://, so that it cannot be a path.
    """

    repository: str
    revision: str = "main"
    file: str | None = None
    is_explicit: bool = True

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        file = "" if self.file is None else f"/{self.file}"
        return f"hf://{self.repository}{revision}{file}"


def is_explicit(text: str) -> bool:
    """Whether a text begins as only a name on the hub does."""
    return _SCHEME.match(text) is not None


def parse(text: str) -> HubReference:
    """What a text that begins with hf:// refers to.

    Raises:
        RequestError: it has parts that no repository, revision or file on the hub has.
    """
    where = quoted(text, 200)
    rest = _SCHEME.sub("", text, count=1)
    if _SCHEME.match(text) is None:
        raise RequestError(f"{where}: {_FORMS}")
    organization, _, rest = rest.partition("/")
    head, at, tail = rest.partition("@")
    if at and "/" not in head:  # an @ further on belongs to the name of a file
        name, rest = head, tail
        special = _REFS.match(rest)
        revision = special[0] if special else rest.partition("/")[0]
        rest = rest[len(revision) :]
        if rest and not rest.startswith("/"):
            raise RequestError(f"{where}: the revision is followed by {quoted(rest)}; {_FORMS}")
        file = rest[1:]
    else:
        name, _, file = rest.partition("/")
        revision = "main"
    for part, kind in ((organization, "an organization"), (name, "a repository")):
        if not is_name(part):
            raise RequestError(
                f"{where}: {quoted(part)} cannot be the name of {kind}, which has letters, digits "
                f"and single '-', '_' and '.'; {_FORMS}"
            )
    if not (_REFS.fullmatch(revision) or _is_revision(revision)):
        raise RequestError(
            f"{where}: {quoted(revision)} cannot be a revision, which is a branch, a tag, a commit "
            f"or refs/pr/N; {_FORMS}"
        )
    if file:
        check_file(file, where)
    return HubReference(f"{organization}/{name}", revision, file or None)


def parse_name(text: str) -> HubReference | None:
    """What `org/name` or `org/name@revision` refers to; None where a text is no such name."""
    if text.count("/") != 1 or is_explicit(text):
        return None
    try:
        found = parse(f"hf://{text}")
    except RequestError:
        return None
    return HubReference(found.repository, found.revision, is_explicit=False)


def is_name(text: str) -> bool:
    """Whether the hub lets an organization or a repository be called so."""
    return (
        _NAME.fullmatch(text) is not None
        and not any(pair in text for pair in ("..", "--"))
        and not text.endswith((".git", ".ipynb"))
    )


def _is_revision(text: str) -> bool:
    """Whether it can be a branch, a tag or a commit; "refs" is where those of others begin."""
    is_plain = _REVISION.fullmatch(text) is not None and ".." not in text and text[-1] != "."
    return is_plain and text != "refs"


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and part.isprintable() and not _NOT_IN_FILES & {*part}


def check_file(file: str, where: str) -> None:
    """Raise RequestError unless a text is a plain path downward inside a repository.

    `where` is how the message begins.
    """
    wrong = next((part for part in file.split("/") if not _is_plain(part)), None)
    if wrong is not None or len(file) > 500:
        shown = quoted(file if wrong is None else wrong)
        raise RequestError(
            f"{where}: {shown} cannot be part of a file's path in a repository; {_FORMS}"
        )
