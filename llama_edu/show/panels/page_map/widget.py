"""PageMapWidget: which pages each token of a text needs, while the text is generated.

A click may arrive on any of the kernel's threads, so the handlers only start a thread, set an event
or redraw under a lock. The worker thread never prints and never makes widgets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.experiments.observe.plain_faults import plain_faults
from llama_edu.experiments.observe.token_steps import TokenSteps
from llama_edu.experiments.observe.within_token import within_token
from llama_edu.experiments.token_pages import TokenPages
from llama_edu.html import note_html
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.pages.lab import PageLab
from llama_edu.pages.record import Record
from llama_edu.pages.touches import Step, Touches
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.panels.page_map.controls import WITHIN, PageMapControls
from llama_edu.show.panels.page_map.view import PageMapView
from llama_edu.show.panels.parts.panel import Panel
from llama_edu.show.panels.parts.picture import Picture
from llama_edu.show.runtime.presence import Presence
from llama_edu.show.runtime.same_cell import stop_predecessors
from llama_edu.show.runtime.worker import Worker
from llama_edu.show.story.description import REASONS
from llama_edu.stated import Stated
from llama_edu.text import one_line, visible_lines
from llama_edu.transformer.sampling import SamplingSettings

#: Seconds between two frames on the screen.
FRAME_INTERVAL_S = 1 / 15


class PageMapWidget(Panel):
    """Shows which pages of a weight file each token of a text needs, while the text is generated.

    Every button is a method: `start`, `stop`, `choose`, `look_within`, `look_at_text`; `wait` waits
    for the end. `run` needs no widgets on the screen. `PageMapWidget.of(...)` shows records that
    exist already. Running the cell again stops the text of the earlier widget; closing the page
    stops the text, see Presence.

    Attributes:
        text: the text so far, prompt included.
        controls: set e.g. `controls.mode.value = "last"`; `controls.frame` holds the map.
        view: draws into the controls.
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
            tokenizer: a vocabulary file, for weights without one.
            pace: the largest number of tokens per second, for readers to follow; 0 is no limit.
            backend: the instrument, where a path is given.
        Raises:
            RequestError: the model was loaded without a lab, or the temperature is out of range.
        """
        self._worker, self._presence = Worker(self._show), Presence()
        if isinstance(model, Llama) and not isinstance(model.lab, PageLab):
            raise RequestError(
                "PageMapWidget: the model was loaded without a lab, expected llama_edu.load(path, "
                "lab=PageLab.open(path)); or give the path alone"
            )
        self._model, self._tokenizer, self._backend = model, tokenizer, backend
        self._settings, self._seed, self._pace = SamplingSettings(temperature), seed, pace
        self._reason, self.text = "", prompt
        self._n_planned = n_tokens
        self.controls = controls = PageMapControls(prompt, n_tokens)
        self.view = PageMapView(controls, self.choose)
        self._file: tuple[Path, Stated] | None = None
        controls.generate_button.on_click(lambda _: self.start())
        controls.stop_button.on_click(lambda _: self.stop())
        controls.level.observe(self._on_level, "value")
        if model is None:
            controls.making.layout.display = controls.level.layout.display = "none"
        super().__init__(
            [controls.making, controls.status, controls.routers, controls.story, controls.looking,
             self._presence.beacon]
        )  # fmt: skip
        self.add_class("llama-edu-page-map")
        self._show()
        stop_predecessors(self)

    @classmethod
    def of(cls, records: TokenPages | Sequence[Record | Step]) -> PageMapWidget:
        """Show what was recorded before: an observed text, or records in order.

        Raises MeasurementError where there are no pages to show, or several files.
        """
        widget, touches = cls(prompt=""), Touches()
        if isinstance(records, TokenPages):
            for step in records.steps or [Step("", records.whole)]:
                touches.add(step)
            touches.plain_faults |= records.plain_faults
            if records.whole.plain_faults:
                touches.plain_faults.setdefault(len(touches), records.whole.plain_faults)
        else:
            for record in records:
                touches.add(record if isinstance(record, Step) else Step(record.label, record))
        if not len(touches):
            raise MeasurementError("PageMapWidget: no records, expected at least one")
        widget.view.begin(touches, len(touches))
        widget.text = "".join(step.text for step in touches.steps)
        widget._reason = "length"
        widget._show()
        return widget

    @property
    def touches(self) -> Touches:
        """The steps so far."""
        return self.view.touches

    @property
    def reason(self) -> str:
        """Why the text ended: eos, length, context, stopped, "failed: ..."; "" until then."""
        return f"failed: {self._worker.failure}" if self._worker.failure else self._reason

    def start(self) -> Self:
        """Begin a text in the background, as Generate does; while one is written, do nothing."""
        if self._model is not None:
            self._worker.start(self._write, first=self._forget)
        return self

    def choose(self, step: int) -> Self:
        """Look at a step of the text, counted from 0, the prompt; as its word does when pressed.

        While the parts of a token are shown, look at those of this one.

        Raises:
            RequestError: there is no such step.
        """
        self._check_step(step)
        if self.view.within is not None:
            return self.look_within(step)
        self.controls.step_slider.value = step + 1
        return self

    def look_within(self, step: int | None = None) -> Self:
        """Observe the parts of one step's computation, in the background, and show them.

        Args:
            step: counted from 0, the prompt; by default the one that is looked at.
        Raises:
            RequestError: there is no such step, or no model to compute it with.
        """
        step = self.view.token if step is None else step
        self._check_step(step)
        if self._file is None:
            raise RequestError(
                "PageMapWidget: shows records, expected a model to look into a token with"
            )
        if not self._worker.start(lambda: self._observe_parts(step)):
            self.view.show_level()
        return self

    def look_at_text(self) -> Self:
        """Show the steps of the text again, at the token that was looked into."""
        self.view.show_token(self.view.token)
        self._show_state()
        return self

    def stop(self) -> None:
        """End the text before its next token, as Stop does."""
        self._worker.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the background text; False if `timeout` seconds were too few."""
        return self._worker.wait(timeout)

    def run(self) -> str:
        """Write a text in this cell, printing it as it comes; interrupting the kernel ends it.

        Returns:
            The whole text, prompt included.
        Raises:
            RequestError: the widget is already writing, or shows records and has no model. Any
                error of the run itself.
        """
        if self._model is None:
            raise RequestError("PageMapWidget: shows records, expected a model to write with")
        with self._worker.foreground(first=self._forget) as is_free:
            if not is_free:
                raise RequestError(
                    "PageMapWidget: is already writing; call .stop() and .wait() first"
                )
            printed = 0
            try:
                for text in self._texts():
                    print(visible_lines(text[printed:]), end="", flush=True)
                    printed = len(text)
            except KeyboardInterrupt:
                self._reason = "stopped"
            finally:
                print()
        return self.text

    def figure(self) -> AltFigure:
        """The map as it is now, as a figure that needs no kernel; its text is that of the widget.

        Raises MeasurementError before the first step.
        """
        if not len(self.touches):
            raise MeasurementError("PageMapWidget: nothing recorded yet; call .start().wait()")
        return self.view.figure(repr(self))

    def close(self) -> None:
        """Stop, wait and remove the widget from the page."""
        self.stop()
        self.wait()
        super().close()

    def _check_step(self, step: int) -> None:
        if not 0 <= step < len(self.touches):
            raise RequestError(
                f"PageMapWidget: step {step}, expected 0 to {len(self.touches) - 1}; the text has "
                f"{len(self.touches)} steps"
            )

    def _on_level(self, change: dict[str, str]) -> None:
        if self.view.is_following:
            return
        if change["new"] == WITHIN and self._file is not None and len(self.touches):
            self.look_within()
        elif len(self.touches):
            self.look_at_text()

    def _observe_parts(self, step: int) -> None:
        """What `look_within` runs in the background."""
        assert self._file is not None
        path, stated = self._file
        read = [step.tokens for step in self.touches.steps[: step + 1]]
        before = [id for ids in read[:-1] for id in ids]
        within = within_token(
            path, before, read[-1], backend=self._backend, stated=stated,
            stopping=self._worker.stopping,
        )  # fmt: skip
        self.view.look_within(within, step)

    def _forget(self) -> None:
        self._reason = ""

    def _write(self) -> None:
        for _ in self._presence.guard(self._texts(), self.stop):
            pass

    def _texts(self) -> Iterator[str]:
        """The text after each step; the screen follows, at most 15 times a second."""
        prompt, self._n_planned = self.controls.prompt.value, self.controls.n_tokens.value
        touches, self.text = Touches(), prompt
        self.view.begin(touches, self._n_planned)
        self._show()
        stopping = self._worker.stopping
        with ExitStack() as stack:
            llama, lab = self._open(stack)
            generation = llama.generate_tokens(
                prompt, self._n_planned, self._settings, seed=self._seed
            )
            steps = TokenSteps(lab, generation, prompt, stopping)
            shown_at = 0.0
            for step in steps:
                touches.add(step)
                self.text = steps.text
                yield self.text
                if time.monotonic() - shown_at >= FRAME_INTERVAL_S:
                    self._show()
                    shown_at = time.monotonic()
                if self._pace:
                    stopping.wait(1 / self._pace)
            path, stated, reason = lab.path, llama.stated, steps.reason
            del llama, lab, generation, steps  # views on the mapping, which is closed now
        self._file = path, stated
        self.view.end()
        self._n_planned = len(touches)
        self._show()
        read = [step.tokens for step in touches.steps]
        touches.plain_faults |= plain_faults(path, read, stopping, stated)
        self._reason = reason

    def _open(self, stack: ExitStack) -> tuple[Llama, PageLab]:
        """The model on a lab; what is opened here is closed with the stack, model first."""
        if isinstance(self._model, Llama) and isinstance(self._model.lab, PageLab):
            return self._model, self._model.lab
        assert self._model is not None and not isinstance(self._model, Llama)
        lab = stack.enter_context(PageLab.open(os.fspath(self._model), self._backend))
        return stack.enter_context(load(self._model, tokenizer=self._tokenizer, lab=lab)), lab

    def _show(self) -> None:
        """Bring every part of the panel up to date."""
        is_busy = self._worker.busy
        self.controls.generate_button.disabled = is_busy
        self.controls.stop_button.disabled = not is_busy
        self._show_state()
        self.view.show(self.text, is_busy=is_busy)

    def _show_state(self) -> None:
        failure = self._worker.failure
        self.controls.status.value = note_html(failure or self._state(), is_error=bool(failure))

    def _state(self) -> str:
        n_steps = len(self.touches)
        if self._worker.busy:
            if self._reason:
                return "Computing the token again, part by part ..."
            if n_steps and n_steps >= self._n_planned:
                return "Computing the text again on a plain mapping, to count page faults ..."
            return f"{n_steps} of at most {self._n_planned} steps ..."
        if not n_steps:
            return "Press Generate." if self._model is not None else ""
        if self.view.within is not None:
            return f"Within {self._token_name()}: {len(self.view.within)} parts"
        return f"{n_steps} steps, {REASONS.get(self._reason, 'complete')}"

    def _token_name(self) -> str:
        """The token that is looked into: "the prompt", or "token 3, ' boy'"."""
        step = self.view.token
        if step == 0:
            return "the prompt"
        return (
            f"{self.touches.step_word(step)}, {one_line(repr(self.touches.steps[step].text), 40)}"
        )

    def __repr__(self) -> str:
        """The text where no widget can be shown; without fault counts, so that it is stable."""
        if self._worker.failure:
            return f"PageMapWidget: {self._worker.failure}"
        if not len(self.touches):
            return (
                "PageMapWidget, nothing recorded yet. In a running notebook the controls appear "
                "here; .run() writes without them."
            )
        summary = self.view.shown.summary(self.controls.step_slider.value)
        name = one_line(self.touches.steps[0].record.file_name)
        what = f"{summary.n_steps} steps"
        if self.view.within is not None:
            what = f"within {self._token_name()}, {summary.n_steps} parts"
        return f"PageMapWidget on {name}, {what}: {summary.true_line}"

    def picture(self) -> Picture:
        """The map as it is now, as a PNG, and the number of pages in words."""
        if not len(self.touches):
            return super().picture()
        return Picture(repr(self), png=self.figure().png())
