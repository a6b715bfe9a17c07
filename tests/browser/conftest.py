"""JupyterLab on loopback with nothing of the user's in it, and a headless Chromium to look at it.

`make test-browser` runs these tests. Where Chromium is missing they fail and say so.
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
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def chromium():
    """Chromium by Playwright, from the system's own package."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    assert executable, "no chromium on this machine; run: apt-get install chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Address and token of a JupyterLab over a copy of the notebooks: it saves what it runs."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    folders = {
        name: str(home / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
            "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR",
        )
    }  # fmt: skip
    news = '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}'
    write(home / "jupyter_config_dir/labconfig/page_config.json", news)
    # every cell in the page at once; Lab leaves out those that are out of sight otherwise
    tracker = "@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    write(home / "jupyterlab_settings_dir" / tracker, '{"windowingMode": "none"}')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    log = (home / "lab.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
         f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
         f"--ServerApp.root_dir={home / 'notebooks'}", "--LabApp.expose_app_in_browser=True"],
        env=os.environ | folders | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api?token={token}", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, (home / "lab.log").read_text()
                time.sleep(0.25)
        yield address, token
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@pytest.fixture
def notebook(lab, chromium):
    """A function that opens a notebook in a fresh page with an idle kernel."""
    address, token = lab
    contexts = []

    def open_notebook(name, *, width=1280, height=900, dark=False):
        context = chromium.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.foreign = []
        page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:",
                address.replace("http", "ws"))) else page.foreign.append(r.url))  # fmt: skip
        page.goto(f"{address}/lab/tree/{name}?token={token}&reset")
        page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session"
            "?.kernel?.status === 'idle'",
            timeout=60_000,
        )
        theme = "JupyterLab Dark" if dark else "JupyterLab Light"
        page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
        )
        if width < 1000:  # the file browser would take a third of the page
            page.evaluate(
                "() => window.jupyterapp.commands.execute('application:toggle-left-area')"
            )
        return page

    yield open_notebook
    for context in contexts:
        context.close()
    # a page that closes leaves its kernel running; the next test is to get a new one
    for kernel in json.loads(ask(f"{address}/api/kernels?token={token}")):
        ask(f"{address}/api/kernels/{kernel['id']}?token={token}", method="DELETE")


def ask(url, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20) as answer:
        return answer.read()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
