"""JupyterLab on loopback without any settings of the user, and a headless Chromium to open it.

Used by the browser tests, benchmarks/browser.py and take_screenshot.py.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_OWN_FOLDERS = (
    "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
    "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR",
)  # fmt: skip
_TRACKER = "@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
_NEWS = "@jupyterlab/apputils-extension:announcements"
_IDLE = """() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session
    ?.kernel?.status === 'idle'"""
_RUN_ALL = """async () => {
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
    const cells = window.jupyterapp.shell.currentWidget.content.widgets;
    return cells.filter(cell => cell.model.type === 'code').map(cell => ({
        tags: cell.model.getMetadata('tags') ?? [],
        outputs: cell.model.outputs.toJSON(),
        source: cell.model.sharedModel.source,
    }));
}"""


class Lab:
    """A running JupyterLab.

    Attributes:
        address: "http://127.0.0.1:PORT".
    """

    def __init__(self, address: str, token: str) -> None:
        self.address, self._token = address, token

    def url(self, path: str) -> str:
        """The whole address of something below the server, token included."""
        return f"{self.address}/{path}{'&' if '?' in path else '?'}token={self._token}"

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
        """The answer of the server. OSError if there is none, or if it is an error."""
        request = urllib.request.Request(self.url(path), body, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def put_notebook(self, name: str, sources: tuple[str, ...]) -> None:
        """Write a notebook of code cells."""
        cells = [
            {"cell_type": "code", "id": f"cell-{n}", "source": source, "metadata": {},
             "outputs": [], "execution_count": None}
            for n, source in enumerate(sources)
        ]  # fmt: skip
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        content = {"cells": cells, "metadata": {"kernelspec": kernel},
                   "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
        body = json.dumps({"type": "notebook", "format": "json", "content": content}).encode()
        self.ask(f"api/contents/{name}", "PUT", body)

    def end_kernels(self) -> None:
        """End all kernels: a closed page leaves its own running, and the next needs a new one."""
        for kernel in json.loads(self.ask("api/kernels")):
            self.ask(f"api/kernels/{kernel['id']}", "DELETE")

    def open(self, context: Any, name: str, *, dark: bool = False, files: bool = True) -> Any:
        """Open a notebook in a Playwright context and wait until its kernel is idle.

        Args:
            files: whether the file browser stays open; it takes a third of a narrow page.
        Returns:
            The page; `page.foreign` collects the URLs of requests to other machines.
        """
        own = (self.address, self.address.replace("http", "ws"), "data:", "blob:")
        page = context.new_page()
        page.foreign = []
        page.on("request", lambda r: None if r.url.startswith(own) else page.foreign.append(r.url))
        page.goto(self.url(f"lab/tree/{name}?reset"))
        page.wait_for_function(_IDLE, timeout=60_000)
        execute = "([name, how]) => window.jupyterapp.commands.execute(name, how)"
        theme = "JupyterLab Dark" if dark else "JupyterLab Light"
        page.evaluate(execute, ["apputils:change-theme", {"theme": theme}])
        if not files:
            page.evaluate(execute, ["application:toggle-left-area", {}])
        return page


def run_all(page: Any) -> list[dict[str, Any]]:
    """Run every cell; returns tags, outputs and source of each code cell when the last has ended.

    Raises AssertionError where an error output and the tag "raises-exception" do not go together.
    """
    cells = page.evaluate(_RUN_ALL)
    for cell in cells:
        errors = [o for o in cell["outputs"] if o["output_type"] == "error"]
        expected = "raises-exception" in cell["tags"]
        assert bool(errors) == expected, (cell["source"], errors)
    return cells


@contextmanager
def hermetic_lab(home: Path) -> Iterator[Lab]:
    """Start JupyterLab over `home`/notebooks, which it may write to, and end it afterwards."""
    (home / "notebooks").mkdir(exist_ok=True)
    folders = {name: str(home / name.lower()) for name in _OWN_FOLDERS}
    page_config = home / "jupyter_config_dir/labconfig/page_config.json"
    _write(page_config, {"disabledExtensions": {_NEWS: True}})
    # all cells in the page at once; by default Lab leaves out those that are out of sight
    _write(home / "jupyterlab_settings_dir" / _TRACKER, {"windowingMode": "none"})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", token := secrets.token_hex(16))
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
             f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
             f"--ServerApp.root_dir={home / 'notebooks'}", "--LabApp.expose_app_in_browser=True"],
            env=os.environ | folders | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            _wait_for(lab, server, home / "lab.log")
            yield lab
        finally:
            server.terminate()
            server.wait(20)


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's own Chromium, driven by Playwright.

    Raises AssertionError, which says what to install, if there is none.
    """
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    assert executable, "no chromium on this machine; run: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def _wait_for(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            lab.ask("api")
            return
        except OSError:
            time.sleep(0.25)
    raise AssertionError(log.read_text())


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
