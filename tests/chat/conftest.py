"""Processes that render templates, ended afterwards."""

from __future__ import annotations

import pytest

from llama_edu.chat.renderer import Renderer


@pytest.fixture
def own_renderer():
    """For tests of the process itself."""
    pytest.importorskip("jinja2")
    renderer = Renderer()
    yield renderer
    renderer.close()


@pytest.fixture(scope="session")
def renderer():
    """One for all others; a template that ends it harms nobody."""
    pytest.importorskip("jinja2")
    renderer = Renderer()
    yield renderer
    renderer.close()
