"""PageMapWidget, the model's X-ray: each page of the file as a cell that lights up when needed.

A click may arrive on any of the kernel's threads, so the handlers only start a thread, set an event
or redraw under a lock. The worker thread never prints and never makes widgets.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.experiments.plain_faults import plain_faults
from llama_edu.experiments.token_pages import TokenPages
from llama_edu.experiments.token_steps import TokenSteps
from llama_edu.html import note_html
from llama_edu.llama import Llama, load
from llama_edu.pages.lab import PageLab
from llama_edu.pages.record import Record
from llama_edu.pages.touches import Step, Touches
from llama_edu.show.figures.grid import PageGrid
from llama_edu.show.figures.page_map import touches_figure
from llama_edu.show.figures.picture import Picture
from llama_edu.show.panels import page_map_html as view
from llama_edu.show.panels.page_map_controls import NO_TENSOR, XrayControls
from llama_edu.show.runtime.libraries import need
from llama_edu.show.runtime.presence import Presence
from llama_edu.show.runtime.worker import sentence
from llama_edu.show.story.description import REASONS
from llama_edu.text import one_line, visible_lines
from llama_edu.transformer.sampling import SamplingSettings

ipywidgets: Any = need("ipywidgets", "PageMapWidget")

#: Seconds between two frames on the screen.
FRAME_INTERVAL_S = 1 / 15


class PageMapWidget(ipywidgets.VBox):
    """Shows which pages of a weight file each token of a text needs, while the text is made.

    The buttons and the methods do the same: `start`, `stop`, `wait`. `run` needs no widgets on the
    screen. `PageMapWidget.of(...)` shows records that were made before.

    Attributes:
        touches: the steps so far. text: what was written, prompt included.
        reason: why the text ended: eos, length, context, stopped, "failed: ..."; "" before.
        controls: set e.g. `controls.mode.value = "last"`; `controls.frame` holds the picture.
        n_frames: pictures drawn so far.
    """

    def __init__(
        self,
        model: Llama | str | os.PathLike[str] | None = None,
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        prompt: str = "Once upon a time",
        n_tokens: int = 24,
        temperature: float = 0.0,
        seed: int = 1,
        pace: float = 0.0,
        backend: str = "auto",
    ) -> None:
        """Build the controls; the file is opened by the first run and closed at its end.

        Args:
            model: path of one weight file, or a Llama that was loaded with a lab. None only for
                records that exist already, see `of`.
            tokenizer: for weights that carry no vocabulary.
            pace: at most so many tokens per second, for eyes to follow; 0 does not slow down.
            backend: the instrument, where a path is given.
        """
        self._model, self._tokenizer, self._backend = model, tokenizer, backend
        self._lock = threading.Lock()
        self._drawing = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._presence = Presence()
        self._busy = self._following = False
        self._grid: PageGrid | None = None
        self._n_planned = 1
        self._failure = self.reason = ""
        self.text = prompt
        self.touches = Touches()
        self.n_frames = 0
        self._settings, self._seed, self._pace = SamplingSettings(temperature), seed, pace
        if isinstance(model, Llama) and not isinstance(model.lab, PageLab):
            raise RequestError(
                "PageMapWidget: the model was loaded without a lab, expected llama_edu.load(path, "
                "lab=PageLab.open(path)); or give the path alone"
            )
        self.controls = controls = XrayControls(prompt, n_tokens)
        controls.generate_button.on_click(lambda _: self.start())
        controls.stop_button.on_click(lambda _: self.stop())
        for control in (controls.mode, controls.step_slider, controls.page_slider):
            control.observe(self._on_control, "value")
        controls.tensor.observe(self._on_tensor, "value")
        if model is None:
            controls.making.layout.display = "none"
        super().__init__(
            [controls.making, controls.status, controls.story, controls.looking,
             self._presence.beacon]
        )  # fmt: skip
        self.add_class("llama-edu-page-map")
        self._show()

    @classmethod
    def of(cls, records: TokenPages | Sequence[Record | Step]) -> PageMapWidget:
        """Show what was recorded before: an observation per token, or records in order.

        Raises MeasurementError where there are no pages to show, or several files.
        """
        widget = cls(prompt="")
        touches = Touches()
        if isinstance(records, TokenPages):
            steps = records.steps or [records.whole]
            for step in steps:
                touches.add(Step("", step) if isinstance(step, Record) else step)
            if records.whole.plain_faults:
                touches.plain_faults[len(touches)] = records.whole.plain_faults
        else:
            for record in records:
                touches.add(record if isinstance(record, Step) else Step(record.label, record))
        if not len(touches):
            raise MeasurementError("PageMapWidget: no records, expected at least one")
        widget.touches = touches
        widget.text = "".join(step.text for step in touches.steps)
        widget._n_planned, widget.reason = len(touches), "length"
        widget._show()
        return widget

    def start(self) -> PageMapWidget:
        """Begin a text in the background, as Generate does; while one is written, do nothing."""
        if self._take():
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End the text before its next token, as Stop does."""
        self._stopping.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the background text; False if `timeout` seconds were too few."""
        thread = self._thread
        if thread:
            thread.join(timeout)
        return not (thread and thread.is_alive())

    def run(self) -> str:
        """Write a text in this cell, printing it as it comes; interrupting the kernel ends it.

        Returns:
            The whole text, prompt included.
        Raises:
            RequestError: the widget is already writing. Any error of the run itself.
        """
        if not self._take():
            raise RequestError("PageMapWidget: is writing already; call .stop() and .wait() first")
        printed = 0
        try:
            for text in self._steps():
                print(visible_lines(text[printed:]), end="", flush=True)
                printed = len(text)
        except KeyboardInterrupt:
            self.stop()
            self.reason = "stopped"
        except Exception as error:
            self._failure = sentence(error)
            raise
        finally:
            print()
            self._give_back()
        return self.text

    def picture(self) -> Picture:
        """The map as it is now, as a figure that needs no kernel, with its words as its text.

        Raises MeasurementError before the first step.
        """
        if not len(self.touches):
            raise MeasurementError("PageMapWidget: nothing recorded yet; call .start().wait()")
        with self._drawing:
            grid = self._grid or PageGrid(self.touches.steps[0].record)
            controls = self.controls
            return touches_figure(
                self.touches, grid, controls.mode.value, controls.step_slider.value, repr(self)
            )

    def close(self) -> None:
        """Stop, wait and take the widget off the page."""
        self.stop()
        self.wait()
        super().close()

    def _take(self) -> bool:
        """Claim the widget for one run; two clicks may come at once on two threads."""
        with self._lock:
            if self._busy or self._model is None:
                return False
            self._busy, self._failure, self.reason = True, "", ""
            self._stopping.clear()
            return True

    def _give_back(self) -> None:
        with self._lock:
            self._busy = False
        self.reason = f"failed: {self._failure}" if self._failure else self.reason
        self._show()

    def _work(self) -> None:
        try:
            for _ in self._presence.guard(self._steps(), self.stop):
                pass
        except Exception as error:  # an error in a thread is otherwise seen by nobody
            self._failure = sentence(error)
        finally:
            self._give_back()

    def _steps(self) -> Iterator[str]:
        """The text after each step; the screen follows, at most 15 times a second."""
        prompt, n_tokens = self.controls.prompt.value, self.controls.n_tokens.value
        self.touches, self._grid, self.text = Touches(), None, prompt
        self._n_planned = n_tokens
        self._show()
        with ExitStack() as stack:
            llama, lab = self._open(stack)
            generation = llama.generate_tokens(prompt, n_tokens, self._settings, seed=self._seed)
            steps = TokenSteps(lab, generation, prompt, self._stopping)
            shown_at = 0.0
            for step in steps:
                self.touches.add(step)
                self.text = steps.text
                yield self.text
                if time.monotonic() - shown_at >= FRAME_INTERVAL_S:
                    self._show()
                    shown_at = time.monotonic()
                if self._pace:
                    self._stopping.wait(1 / self._pace)
            path, reason = lab.path, steps.reason
            del llama, lab, generation, steps
        self._n_planned = max(1, len(self.touches))
        self._show()
        read = [step.tokens for step in self.touches.steps]
        self.touches.plain_faults |= plain_faults(path, read, self._stopping)
        self.reason = reason

    def _open(self, stack: ExitStack) -> tuple[Llama, PageLab]:
        """The model on a lab; what is opened here is closed with the stack, model first."""
        if isinstance(self._model, Llama) and isinstance(self._model.lab, PageLab):
            return self._model, self._model.lab
        assert self._model is not None and not isinstance(self._model, Llama)
        lab = stack.enter_context(PageLab.open(os.fspath(self._model), self._backend))
        return stack.enter_context(load(self._model, tokenizer=self._tokenizer, lab=lab)), lab

    def _on_control(self, _change: object) -> None:
        if not self._following:
            self._draw()

    def _on_tensor(self, change: dict[str, Any]) -> None:
        if change["new"] >= 0:
            self.controls.page_slider.value = change["new"]

    def _show(self) -> None:
        """Bring every part of the panel up to date."""
        with self._drawing:
            n_steps = len(self.touches)
            self.controls.generate_button.disabled = self._busy
            self.controls.stop_button.disabled = not self._busy
            if self._failure:
                self.controls.status.value = note_html(self._failure, is_error=True)
            else:
                self.controls.status.value = note_html(self._state())
            self.controls.looking.layout.display = None if n_steps else "none"
            self.controls.story.value = "" if n_steps else note_html("")
            if not n_steps:
                return
            if self._grid is None:
                self._lay_out(self.touches.steps[0].record)
            self._following = True
            try:
                self.controls.step_slider.max = self.controls.play.max = n_steps
                self.controls.step_slider.value = n_steps
                self.controls.step_slider.disabled = self.controls.play.disabled = self._busy
                if not self._busy:
                    self.controls.replay_row.settle()
            finally:
                self._following = False
            self._draw()

    def _lay_out(self, record: Record) -> None:
        self._grid = PageGrid(record)
        self.controls.labels.value = view.labels_html(self._grid)
        self._following = True
        try:
            self.controls.page_slider.max = record.n_pages - 1
            self.controls.page_row.settle()
            specs = sorted(record.tensors.values(), key=lambda spec: spec.offset)
            self.controls.tensor.options = [NO_TENSOR] + [
                (one_line(spec.name), spec.offset // record.page_size) for spec in specs
            ]
        finally:
            self._following = False

    def _draw(self) -> None:
        """The picture and its words for the step, the colors and the page that are chosen."""
        with self._drawing:
            if self._grid is None or not len(self.touches):
                return
            n_steps, mode = self.controls.step_slider.value, self.controls.mode.value
            n_values = max(self._n_planned, len(self.touches))
            page = self.controls.page_slider.value
            values = self.touches.values(mode, n_steps)
            self.controls.frame.value = self._grid.png(values, n_values, page)
            self.n_frames += 1
            self.controls.legend.value = view.legend_html(mode, n_values, self._grid)
            self.controls.totals.value = view.summary_html(self.touches.summary(n_steps))
            self.controls.page.value = view.page_html(self.touches, page, n_steps)
            self.controls.story.value = view.story_html(self.touches, n_steps, self.text)

    def _state(self) -> str:
        if self._busy:
            n_steps = len(self.touches)
            if n_steps and n_steps >= self._n_planned:
                return "The same text once more on a plain mapping, to count its page faults ..."
            return f"{n_steps} of at most {self._n_planned} steps ..."
        if not len(self.touches):
            return "Press Generate." if self._model is not None else ""
        return f"{len(self.touches)} steps, {REASONS.get(self.reason, 'complete')}"

    def __repr__(self) -> str:
        """What stands in the notebook where no widget can be shown; no fault count, so stable."""
        if self._failure:
            return f"PageMapWidget: {self._failure}"
        if not len(self.touches):
            return (
                "PageMapWidget, nothing recorded yet. In a running notebook the controls appear "
                "here; .run() writes without them."
            )
        summary = self.touches.summary(self.controls.step_slider.value)
        name = one_line(self.touches.steps[0].record.file_name)
        return f"PageMapWidget on {name}, {summary.n_steps} steps: {summary.true_line}"

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        """The live widget; beside it the map as a picture and its words, which need no kernel."""
        bundle: dict[str, object] = super()._repr_mimebundle_(**kwargs) or {}
        bundle |= {"text/plain": repr(self)}
        if len(self.touches):
            bundle["image/png"] = base64.b64encode(self.picture().png()).decode("ascii")
        return bundle
