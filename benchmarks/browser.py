"""What a reader waits for in JupyterLab: first text, the end after Stop, frames of the X-ray.

The first token is timed in a cell as well, which runs in the kernel's main thread: a panel computes
in another one, and should not wait longer for it.

    python -m benchmarks.browser

All are measured in the page. A script in it takes the time of the click and of the first change of
the text, so that only the browser, the server and the kernel lie between. For the X-ray it counts
the images that were decoded, while the kernel goes through artificial steps. Their pages are
random, so their images are larger than those of a model, which compress well.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import table
from llama_edu.models.known import known_model
from tools.hermetic_lab import Lab, chromium, hermetic_lab, run_all

ROUNDS = 10
N_PAGES, N_STEPS = (3_000, 100_000), 24
#: Frames per second that the kernel sends: as the X-ray does while it writes, and twice that.
RATES, REPLAY_S = (15, 30), 5
STUDIO = """from llama_edu.show import GenerationStudio
studio = GenerationStudio({model}prompt={prompt!r}, n_tokens=400, temperature=1.2, pace={pace})
studio"""
#: Some 40 tokens, so that reading it takes longer than everything around it.
PROMPT = (
    "Once upon a time, there was a little girl named Lily. She liked to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was very high."
)
#: Prints the seconds that the prompt took in the panel's latest text, and those it takes here.
PROMPT_S = """generation = studio.writer.writing.generation
again = studio.writer.llama.generate_tokens(generation.tokens[:generation.n_prompt], 1)
next(iter(again))
print(generation.prefill_s, again.prefill_s)"""

#: Clicks a button and resolves with the milliseconds until `done` holds of the panel; with null
#: where the button cannot be pressed, because a fast model has ended its text before Stop.
_CLICK = """([name, done]) => new Promise((resolve, reject) => {
    const panel = document.querySelector('.llama-edu-generation');
    const button = [...panel.querySelectorAll('button')].find(b => b.innerText.includes(name));
    if (button.disabled) return resolve(null);
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
XRAY = """import time
import numpy as np
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.record import Record
from llama_edu.pages.verdict import Verdict
from llama_edu.show import PageMapWidget
from llama_edu.pages.touches import Step
n_pages, page, rng = {n_pages}, 4096, np.random.default_rng(1)
edges = np.linspace(0, n_pages, 26).astype(int).tolist()
specs = {{}}
for i, (begin, end) in enumerate(zip(edges, edges[1:])):
    name = f"layers.{{i}}.wq"
    specs[name] = TensorSpec(name, "f32", (end - begin, 1024), begin * page, (end - begin) * page)
steps = []
for i in range({n_steps}):
    record = Record(f"step {{i}}", "made.bin", n_pages * page, specs, page, "made up", "none")
    touched = rng.random(n_pages) < 0.1
    record.finish(touched, None, FaultCounts(1, 0), 0.5, Verdict("exact"))
    steps.append(Step(f" word{{i}}", record))
xray = PageMapWidget.of(steps)
xray"""
#: Shows the steps in turn for some seconds, one frame each; prints frames, seconds spent, bytes.
REPLAY = """frames, busy_s, due = 0, 0.0, time.perf_counter()
end = due + {seconds}
while (start := time.perf_counter()) < end:
    xray.controls.step_slider.value = 1 + frames % {n_steps}
    busy_s += time.perf_counter() - start
    frames, due = frames + 1, due + 1 / {rate}
    time.sleep(max(0.0, due - time.perf_counter()))
print(frames, busy_s, len(xray.controls.frame.value))"""
_RUN_LAST = """async source => {
    const {commands, shell} = window.jupyterapp, notebook = shell.currentWidget.content;
    notebook.activeCellIndex = notebook.widgets.length - 1;
    notebook.activeCell.model.sharedModel.setSource(source);
    await commands.execute('notebook:run-cell');
    return notebook.activeCell.outputArea.node.innerText;
}"""
#: Counts the images that the page has decoded.
_COUNT_FRAMES = """() => {
    window.framesShown = 0;
    document.querySelector('.llama-edu-page-map img').onload = () => { window.framesShown += 1; };
}"""
_FIRST_TEXT = "/[1-9]\\d* new tokens.*writing/.test(panel.innerText)"
_WAS_STOPPED = "() => / stopped/.test(document.querySelector('.llama-edu-generation').innerText)"
_ENDED = "/stopped|is reached|ended the text/.test(panel.innerText)"


def run(rounds: int = ROUNDS) -> str:
    """Three Markdown tables, and the load of the machine."""
    load_before = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory() as home,
        hermetic_lab(Path(home)) as lab,
        chromium() as browser,
    ):
        waits = [row for pace in (20, 0) for row in _waits(lab, browser, pace, rounds)]
        firsts = [row for model in models() for row in _first_tokens(lab, browser, model, rounds)]
        frames = [row for n in N_PAGES for row in _frames(lab, browser, n)]
    head = ("pace", "from ... to ...", f"median of {rounds}, ms", "least", "most")
    firsts_head = ("model", "first token", f"median of {rounds}, ms", "least", "most")
    frames_head = (
        "pages", "frames/s asked for", "frames/s shown", "kernel, ms a frame",
        "image, bytes", "all messages, bytes a frame",
    )  # fmt: skip
    tables = (table(head, waits), table(firsts_head, firsts), table(frames_head, frames))
    load = f"{load_before:.1f}, {os.getloadavg()[0]:.1f}"
    return "\n\n".join((*tables, f"Load of the machine (1 minute) before and after: {load}."))


def _waits(lab: Lab, browser: Any, pace: int, rounds: int) -> list[tuple[str, ...]]:
    """Rows of the first table."""
    lab.put_notebook("made.ipynb", (_studio(pace=pace),))
    context = browser.new_context()
    page = lab.open(context, "made.ipynb")
    run_all(page)
    firsts, stops = _one_page(page, rounds)
    context.close()
    lab.end_kernels()
    words = f"at most {pace} tokens/s" if pace else "as fast as it goes"
    return [
        (words, "Generate to the first text", *_spread(firsts)),
        (words, "Stop to the end of writing", *_spread(stops)),
    ]


def models() -> list[str]:
    """What the panels of the second table open: the bundled model, and SmolLM2 where it is."""
    known = known_model("smollm2")
    return ["", *(["smollm2"] if known and known.find() else [])]


def _studio(model: str = "", prompt: str = "", pace: int = 0) -> str:
    """The source of a cell with a studio."""
    first = f"{model!r}, " if model else ""
    return STUDIO.format(model=first, prompt=prompt or "Once upon a time", pace=pace)


def _first_tokens(lab: Lab, browser: Any, model: str, rounds: int) -> list[tuple[str, ...]]:
    """Rows of the second table; an uncounted first round loads the model and compiles."""
    lab.put_notebook("made.ipynb", (_studio(model, PROMPT), "pass"))
    context = browser.new_context()
    page = lab.open(context, "made.ipynb")
    run_all(page)
    page.wait_for_selector(".llama-edu-generation")
    seen, in_panel, in_cell = [], [], []
    for _ in range(rounds + 1):
        seen.append(page.evaluate(_CLICK, ["Generate", _FIRST_TEXT]))
        page.evaluate(_CLICK, ["Stop", _ENDED])
        page.wait_for_timeout(200)
        seconds = page.evaluate(_RUN_LAST, PROMPT_S).split()
        in_panel.append(1e3 * float(seconds[0]))
        in_cell.append(1e3 * float(seconds[1]))
    context.close()
    lab.end_kernels()
    name = model or "bundled"
    return [
        (name, "in a cell, the kernel's main thread", *_spread(in_cell[1:])),
        (name, "in the panel's thread", *_spread(in_panel[1:])),
        (name, "from Generate to its text in the page", *_spread(seen[1:])),
    ]


def _frames(lab: Lab, browser: Any, n_pages: int) -> list[tuple[str, ...]]:
    """Rows of the second table: a map of `n_pages` pages, at every rate."""
    lab.put_notebook("made.ipynb", (XRAY.format(n_pages=n_pages, n_steps=N_STEPS), "pass"))
    context = browser.new_context()
    received: list[int] = []
    context.on("page", lambda page: page.on("websocket", lambda socket: _listen(socket, received)))
    page = lab.open(context, "made.ipynb")
    run_all(page)
    page.wait_for_selector(".llama-edu-page-map img")
    rows = []
    for rate in RATES:
        page.wait_for_timeout(500)
        page.evaluate(_COUNT_FRAMES)
        received.clear()
        replay = REPLAY.format(seconds=REPLAY_S, rate=rate, n_steps=N_STEPS)
        asked, busy_s, picture_bytes = page.evaluate(_RUN_LAST, replay).split()
        page.wait_for_timeout(500)
        shown = page.evaluate("() => window.framesShown")
        rows.append((
            f"{n_pages:,}", f"{int(asked) / REPLAY_S:.1f}", f"{shown / REPLAY_S:.1f}",
            f"{1e3 * float(busy_s) / int(asked):.1f}", f"{int(picture_bytes):,}",
            f"{sum(received) / int(asked):,.0f}",
        ))  # fmt: skip
    context.close()
    lab.end_kernels()
    return rows


def _listen(socket: Any, received: list[int]) -> None:
    """Append the size of every message that a page gets over a websocket."""
    socket.on("framereceived", lambda payload: received.append(len(payload)))


def _one_page(page: Any, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds to the first text and to the end; an uncounted first round loads the model.

    Texts that ended by themselves before Stop took effect count as texts, not as stops.
    """
    page.wait_for_selector(".llama-edu-generation")
    firsts, stops = [], []
    while len(stops) < rounds + 1:
        firsts.append(page.evaluate(_CLICK, ["Generate", _FIRST_TEXT]))
        page.wait_for_timeout(20)
        stop_ms = page.evaluate(_CLICK, ["Stop", _ENDED])
        if stop_ms is not None and page.evaluate(_WAS_STOPPED):
            stops.append(stop_ms)
        page.wait_for_timeout(200)
    return firsts[1:], stops[1:]


def _spread(values: list[float]) -> tuple[str, str, str]:
    return f"{statistics.median(values):.0f}", f"{min(values):.0f}", f"{max(values):.0f}"


if __name__ == "__main__":
    print(run())
