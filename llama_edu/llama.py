"""Llama: an open checkpoint, and what can be done with it; loading.py makes one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.files.layout import Checkpoint, TensorSpec
from llama_edu.files.mapped import ClosedAtExit, MappedFile
from llama_edu.html import facts_html
from llama_edu.matmul.arithmetic import Arithmetic, ArithmeticChoice
from llama_edu.matmul.choice import Chosen, Kernels, choose
from llama_edu.stated import Stated
from llama_edu.text import one_line
from llama_edu.tokenizer.choice import tokenizer_for
from llama_edu.tokenizer.prompt import prompt_ids
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.transformer.access_log import AccessLog
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.functions import functions_for
from llama_edu.transformer.generate import PREFILL_CHUNK, Generation
from llama_edu.transformer.generated_text import GeneratedText
from llama_edu.transformer.model import Model, check_tokens, forward
from llama_edu.transformer.sampling import SamplingSettings
from llama_edu.transformer.step import step
from llama_edu.transformer.tap import Tap
from llama_edu.unsendable import Unsendable

if TYPE_CHECKING:
    from llama_edu.chat.conversation import Conversation
    from llama_edu.reconcile.trace import Trace


class Lab(Protocol):
    """What load() needs of a pages.PageLab, which this module does not import."""

    path: Path

    @property
    def ledger(self) -> AccessLog:
        """Where the forward pass records what it reads."""

    def view(self, tensor: TensorSpec) -> np.ndarray:
        """A read-only view of one tensor, in the lab's own mapping."""

    def check_bytes_unchanged(self) -> None:
        """Raise FormatError if the bytes of the file changed."""


@dataclass(frozen=True)
class Loading:
    """What loading cost: bytes of weights that are mapped, and copied, and time."""

    mapped_bytes: int
    copied_bytes: int
    elapsed_s: float


class Llama(Unsendable, ClosedAtExit):
    """An open checkpoint: its weights, its tokenizer, and what can be done with them.

    A context manager; leaving it unmaps the file. All views of weights must have been deleted by
    then.

    Attributes:
        checkpoint: where every tensor is. config: the model's sizes.
        weights: name -> read-only view of the stored numbers.
        tokenizer: text to ids and back, made when it is first asked for.
        loading: what was mapped and what was copied.
        lab: the lab whose mapping holds the weights, or None.
        kernels, stated, tokenizer_path: as given to load().
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        weights: dict[str, np.ndarray],
        tokenizer: Tokenizer | None,
        files: Sequence[MappedFile],
        loading: Loading,
        model: Model,
        lab: Lab | None = None,
        kernels: Kernels = "numpy",
        *,
        arithmetic: ArithmeticChoice = "float32",
        stated: Stated = Stated(),  # noqa: B008  (frozen)
        tokenizer_path: Path | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.config: ModelConfig = checkpoint.config
        self._weights = weights
        self.weights: Mapping[str, np.ndarray] = model.weights
        self._tokenizer = tokenizer
        self._files = tuple(files)
        self.loading = loading
        self.kernels, self.stated, self.tokenizer_path = kernels, stated, tokenizer_path
        self._arithmetic = arithmetic
        self._without_kernels = model
        self.lab = lab
        if kernels == "jit":
            _ = self._chosen  # what is wrong with them is said now

    @cached_property
    def model(self) -> Model:
        """What forward() takes, with the kernels that were asked for.

        Made when something is computed for the first time, because importing a compiler takes time.
        """
        multiply, arithmetic, is_compiled = self._chosen
        model = replace(self._without_kernels, matmul=multiply, functions=functions_for(multiply))
        if not is_compiled:
            return model
        from llama_edu.transformer.jit.one_token import one_token_of  # imports a compiler

        return replace(model, one_token=one_token_of(model, arithmetic))

    @property
    def arithmetic(self) -> Arithmetic:
        """What the products are: as given to load(), or what "auto" became on this machine.

        To find that out may import a compiler, which knows the processor.
        """
        return self._chosen.arithmetic if self._arithmetic == "auto" else self._arithmetic

    @property
    def is_compiled(self) -> bool:
        """Whether compiled kernels multiply, and not numpy; to find out may import a compiler."""
        return self._chosen.is_compiled

    @cached_property
    def _chosen(self) -> Chosen:
        model = self._without_kernels
        return choose(self.kernels, model.weights.values(), model.threads, self._arithmetic)

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back, made when it is first asked for.

        Raises:
            RequestError: the model has no vocabulary and none was given, or it has more pieces
                than the model.
            FormatError: the vocabulary is damaged or of a kind that is not known here.
        """
        if self._tokenizer is None:
            self._tokenizer = tokenizer_for(self.checkpoint)
        return self._tokenizer

    def logits(self, tokens: Sequence[int], *, tap: Tap | None = None) -> np.ndarray:
        """Score every possible next token after each of the given ones.

        Args:
            tokens: T ids, BOS included where the model should see one.
            tap: sees every step, of all T positions at once, and may change it: transformer/tap.py.
        Returns:
            (T, vocab_size) float32; row t is what the model expects after tokens[: t + 1].
        Raises:
            RequestError: an unknown id, no ids, more ids than the context holds, or a tap that
                returned no array of the same shape.
            FormatError: a mapped file was cut off or written over since it was opened.
        """
        self._check_open()
        check_tokens(tokens, self.config)
        if len(tokens) > self.config.max_seq_len:
            raise RequestError(
                f"tokens: {len(tokens)} given, the model's context is {self.config.max_seq_len}"
            )
        cache = KVCache(self.config, len(tokens))
        out = np.empty((len(tokens), self.config.vocab_size), np.float32)
        n_together = len(tokens) if tap else PREFILL_CHUNK
        for start in range(0, len(tokens), n_together):
            chunk = tokens[start : start + n_together]
            with step(self.model):
                out[start : start + len(chunk)] = forward(self.model, chunk, cache, tap=tap)
        return out

    def trace(
        self,
        tokens: Sequence[int],
        names: str | Sequence[str] = "*",
        *,
        tap: Tap | None = None,
        limit_bytes: int = 2**30,
    ) -> Trace:
        """Compute a text and keep the named steps; see reconcile/trace.py.

        Args:
            tokens: T ids, BOS included where the model should see one.
            names: a step or a pattern, or several: "layers.*.weights", ["embedding", "logits"].
            tap: may change each step before it is kept.
            limit_bytes: RequestError, before anything is computed, if they would take more.
        """
        from llama_edu.reconcile.trace import trace

        self._check_open()
        return trace(self.model, tokens, names, tap=tap, limit_bytes=limit_bytes)

    def generate(
        self,
        prompt: str = "",
        n_tokens: int = 256,
        *,
        temperature: float = SamplingSettings.temperature,
        top_k: int = SamplingSettings.top_k,
        top_p: float = SamplingSettings.top_p,
        min_p: float = SamplingSettings.min_p,
        repeat_penalty: float = SamplingSettings.repeat_penalty,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        special: bool = False,
        logprobs: int = 0,
    ) -> GeneratedText:
        """Continue a prompt; the result yields the new text as it is generated, or is it as `str`.

        Args:
            prompt: how the text begins, with BOS in front where the model wants it. "" starts from
                BOS alone, or from EOS for a model that has none.
            n_tokens: the largest number of new tokens; the text ends earlier at an end token.
            temperature ... repeat_penalty: see SamplingSettings. temperature 0 is greedy.
            seed: the same seed gives the same text; None draws a new one.
            stop: strings that end the text; no part of one is given out.
            special: whether names of control pieces in the prompt become these pieces.
            logprobs: keep every token, with its log probability and those of this many likeliest
                tokens, in `steps` of the result.
        """
        settings = SamplingSettings(temperature, top_k, top_p, min_p, repeat_penalty)
        generation = self.generate_tokens(
            prompt, n_tokens, settings, seed=seed, stop=stop, special=special, logprobs=logprobs
        )
        return GeneratedText(generation, keep_steps=logprobs > 0)

    def generate_tokens(
        self,
        prompt: str | Sequence[int] = "",
        n_tokens: int = 256,
        settings: SamplingSettings | None = None,
        *,
        seed: int | np.random.Generator | None = None,
        cache: KVCache | None = None,
        stop: str | Sequence[str] = (),
        special: bool = False,
        logprobs: int = 0,
    ) -> Generation:
        """Continue a prompt (text, or ids with BOS); yields GeneratedToken with id and logits.

        Args:
            stop, special, logprobs: as for `generate`.
            seed, cache: to continue where an earlier generation stopped, pass its `rng` and
                `cache` with its `tokens` as the prompt. What the cache holds is not recomputed.
        """
        self._check_open()
        if isinstance(prompt, str):
            tokens = prompt_ids(self.tokenizer, prompt, special=special)
        else:
            tokens = list(prompt)
        if isinstance(seed, int) and seed < 0:
            raise RequestError(f"seed is {seed}, expected 0 or more")
        rng = np.random.default_rng(seed)
        settings = settings or SamplingSettings()
        return Generation(
            self.model, self.tokenizer, tokens, n_tokens, settings, rng,
            cache=cache, stop=stop, logprobs=logprobs,
        )  # fmt: skip

    def chat(
        self,
        system: str | None = None,
        *,
        messages: Iterable[Mapping[str, object]] = (),
        template: str | os.PathLike[str] | None = None,
        n_tokens: int = 512,
        stop: str | Sequence[str] = (),
        seed: int | np.random.Generator | None = None,
        settings: SamplingSettings | None = None,
        **sampling: float,
    ) -> Conversation:
        """A conversation through the chat template of the file; needs jinja2, the extra `chat`.

        Args:
            system: what the model is told beforehand. messages: what was said already.
            template: in place of the file's own: the name of another one in it, one of ours
                ("chatml", "llama2", "llama3", "zephyr", "plain"), or a file.
            n_tokens: the largest number of tokens of an answer. stop: texts that end one.
            settings, sampling: see SamplingSettings; `chat(temperature=0)` works as well.
        Raises:
            RequestError, FormatError: the template or a message cannot be used.
        """
        from llama_edu.chat.conversation import Conversation  # needs no library until it renders

        settings = replace(settings or SamplingSettings(), **sampling)  # type: ignore[arg-type]
        self._check_open()
        return Conversation(
            self, system=system, messages=messages, template=template, n_tokens=n_tokens,
            settings=settings, stop=stop, seed=seed,
        )  # fmt: skip

    def close(self) -> None:
        """Unmap the file. BufferError, naming the tensors, while a view of one is held."""
        self._weights.clear()
        for file in self._files:
            file.close()

    def _send_instead(self) -> str:
        return f"its path ({one_line(str(self.checkpoint.paths[0]))})"

    def _check_open(self) -> None:
        if not self._weights:
            raise RequestError(f"{self.checkpoint.paths[0]}: is closed; load it again")

    def __repr__(self) -> str:
        config = self.config
        rounding = f", {self._rounding} arithmetic" if self._rounding else ""
        return (
            f"Llama({self.checkpoint.paths[0].name!r}, {self.checkpoint.format}, "
            f"{self.checkpoint.n_parameters:,} parameters: dim {config.dim}, "
            f"{config.n_layers} layers, {config.n_heads} heads, {config.vocab_size:,} pieces"
            f"{rounding})"
        )

    def _repr_html_(self) -> str:
        config = self.config
        return facts_html(
            f"Llama: {self.checkpoint.paths[0].name}",
            {
                "format": self.checkpoint.format,
                "parameters": self.checkpoint.n_parameters,
                "sizes": f"dim {config.dim}, hidden_dim {config.hidden_dim}, {config.n_layers} "
                f"layers, {config.n_heads} heads on {config.n_kv_heads} key/value heads",
                "vocabulary": f"{config.vocab_size:,} pieces",
                "context": f"{config.max_seq_len:,} tokens",
                "mapped bytes": self.loading.mapped_bytes,
                "copied bytes": self.loading.copied_bytes,
                **({"arithmetic": self._rounding} if self._rounding else {}),
            },
        )

    @property
    def _rounding(self) -> str:
        """The arithmetic, if it is known by now and is not float32; or ""."""
        is_known = self._arithmetic != "auto" or "_chosen" in vars(self)
        return self.arithmetic if is_known and self.arithmetic != "float32" else ""
