"""What a reader waits for in JupyterLab: the first text after Generate, silence after Stop.

    python -m benchmarks.browser

Both are seen from the page: a script in it notes the time of the click and of the first change of
the text, so that nothing but the browser, the server and the kernel lies between.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import table
from tools.hermetic_lab import chromium, hermetic_lab, run_all

ROUNDS = 10
STUDIO = """from llama_edu.show import GenerationStudio
GenerationStudio(n_tokens=400, temperature=1.2, pace={pace})"""

#: Clicks a button and resolves with the milliseconds until `done` holds of the panel.
_CLICK = """([name, done]) => new Promise((resolve, reject) => {
    const panel = document.querySelector('.llama-edu-generation');
    const button = [...panel.querySelectorAll('button')].find(b => b.innerText.includes(name));
    const isDone = new Function('panel', 'before', 'return ' + done);
    const before = panel.querySelector('pre[role=log]')?.innerText ?? '';
    const observer = new MutationObserver(() => {
        if (!isDone(panel, before)) return;
        observer.disconnect();
        resolve(performance.now() - pressed);
    });
    observer.observe(panel, {subtree: true, childList: true, characterData: true});
    const pressed = performance.now();
    button.click();
    setTimeout(() => reject(new Error('nothing happened for 20 s')), 20000);
})"""
_FIRST_TEXT = "/[1-9]\\d* new tokens.*writing/.test(panel.innerText)"
_STOPPED = "/stopped/.test(panel.innerText)"


def run(rounds: int = ROUNDS) -> str:
    """Medians with their spread as a Markdown table, and how busy the machine was."""
    rows = []
    load_before = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as home,
        hermetic_lab(Path(home)) as lab,
        chromium() as browser,
    ):
        for pace in (20, 0):
            lab.put_notebook("made.ipynb", (STUDIO.format(pace=pace),))
            context = browser.new_context()
            page = lab.open(context, "made.ipynb")
            run_all(page)
            firsts, stops = _one_page(page, rounds)
            words = f"at most {pace} tokens/s" if pace else "as fast as it goes"
            rows.append((words, "Generate to the first text", *_spread(firsts)))
            rows.append((words, "Stop to the end of writing", *_spread(stops)))
            context.close()
            lab.end_kernels()
    head = ("pace", "from ... to ...", f"median of {rounds}, ms", "least", "most")
    return (
        f"{table(head, rows)}\n\nLoad of the machine (1 minute) before and after: "
        f"{load_before:.1f}, {os.getloadavg()[0]:.1f}."
    )


def _one_page(page: Any, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds to the first text and to the end; one round more, uncounted, loads the model."""
    page.wait_for_selector(".llama-edu-generation")
    firsts, stops = [], []
    for _ in range(rounds + 1):
        firsts.append(page.evaluate(_CLICK, ["Generate", _FIRST_TEXT]))
        page.wait_for_timeout(400)
        stops.append(page.evaluate(_CLICK, ["Stop", _STOPPED]))
        page.wait_for_timeout(200)
    return firsts[1:], stops[1:]


def _spread(values: list[float]) -> tuple[str, str, str]:
    return f"{statistics.median(values):.0f}", f"{min(values):.0f}", f"{max(values):.0f}"


if __name__ == "__main__":
    print(run())
