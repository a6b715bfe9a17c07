"""What rounding activations costs: int8 arithmetic beside the exact product, type by type.

llama.cpp rounds what it multiplies by quantized weights to 8 bits, and arithmetic="auto" does so
where that is faster. In March 2023 it rounded to 4 bits. Source: `vec_dot_type` in ggml-cpu.c of
llama.cpp; quantize_row_q4_0 and ggml_vec_dot_q4_0 in ggml.c at PR #613 for 4 bits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.convert.planning import TypeName
from llama_edu.errors import FormatError, RequestError
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.matmul.arithmetic import Arithmetic, check_arithmetic
from llama_edu.matmul.choice import Kernels
from llama_edu.models import locate
from llama_edu.quality.losses import Loss, divergence, paired_loss, token_nats
from llama_edu.slimmer.texts import Texts, texts_for
from llama_edu.table import Rows, lay_out
from llama_edu.text import visible
from llama_edu.transformer.sampling import GREEDY
from llama_edu.workers.opened import WeightsFile
from llama_edu.workers.pieces import MapFunction, Progress, collected

#: What the file is converted to, besides being scored as it is.
TYPES: tuple[TypeName, ...] = (
    "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "q6_k", "q5_k", "q4_k", "q3_k", "q2_k",
)  # fmt: skip

#: Texts written greedily: so many, each after so many tokens, and so long.
N_PROMPTS, PROMPT_TOKENS, GREEDY_TOKENS = 3, 16, 64


@dataclass(frozen=True)
class Cost(Rows):
    """One arithmetic with weights of one type, beside float32 with the same weights.

    Attributes:
        weights: the type of the matrices, or "as stored: " and those of the file.
        auto: what arithmetic="auto" is for them on this machine.
        float32_nats: per token of the text. loss: what the other arithmetic loses more.
        kl_median, kl_mean, kl_largest: nats, over the positions: KL divergence of its probabilities
            of the next token from those of float32.
        same_likeliest_fraction: of positions, whose likeliest next token is that of float32.
        logits_error: the largest difference of a logit over the largest logit.
        greedy: for each prompt, how many greedy tokens it has in common with float32 until the
            first that differs, and how many float32 wrote.
    """

    weights: str
    arithmetic: str
    auto: str
    float32_nats: float
    loss: Loss
    kl_median: float
    kl_mean: float
    kl_largest: float
    same_likeliest_fraction: float
    logits_error: float
    greedy: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ArithmeticCosts(Rows):
    """The same model with weights of several types, in each arithmetic that is defined for them.

    Attributes:
        text: what was scored. n_tokens: how many of its tokens.
        kernels: what load() was asked for. left_out: sentences.
        cut_short: whether it was interrupted, or the workers ended.
    """

    rows_of = ("costs",)

    subject: str
    text: str
    n_tokens: int
    kernels: str
    costs: tuple[Cost, ...]
    left_out: tuple[str, ...]
    cut_short: bool = False

    def __str__(self) -> str:
        rows = [
            (c.weights, c.arithmetic, c.auto, f"{c.float32_nats:.4f}",
             f"{c.loss.nats:+.5f} ± {c.loss.standard_error:.5f}",
             f"{c.kl_median:.1e}", f"{c.kl_mean:.1e}", f"{c.kl_largest:.1e}",
             f"{c.same_likeliest_fraction:.1%}", f"{c.logits_error:.1e}",
             ", ".join(f"{common} of {n}" for common, n in c.greedy))
            for c in self.costs
        ]  # fmt: skip
        heads = ("weights", "arithmetic", "auto is", "float32 nats", "more per token",
                 "KL median", "mean", "largest", "same likeliest", "logits",
                 "greedy tokens in common")  # fmt: skip
        lines = [
            f"{visible(self.subject)}: {self.n_tokens:,} tokens scored, kernels {self.kernels}",
            self.text,
            lay_out(heads, rows, "<<<>>>>>>>>", "  "),
            "± is the standard error of the paired differences; int4 is defined for q4_0 and q4_1 "
            "alone",
            *self.left_out,
        ]
        return "\n".join([*lines, *(["interrupted: the rows that were done"] * self.cut_short)])


def arithmetic(
    path: str | Path | None = None,
    *,
    text_file: str | Path | None = None,
    types: Sequence[TypeName] = TYPES,
    kernels: Kernels = "auto",
    progress: Progress | None = None,
    map: MapFunction | None = None,
) -> ArithmeticCosts:
    """Score a text in float32 and with rounded activations, for each type of weights.

    Ctrl+C ends it with the types that are done.

    Args:
        path: a checkpoint, or a name; None for the bundled one.
        text_file: a UTF-8 text, of which about 1,000 tokens are scored; None for held-out stories,
            which suit the bundled model alone.
        types: to convert the file to, each in a temporary folder.
        kernels: of load(), for all of them.
        progress: called with (types done, types in all).
        map: shares the types among processes, as Executor.map does; each then has one thread.
    Raises:
        RequestError: a text that is too short or cannot be read, or a model without vocabulary.
        EngineError: the engine behind `map` ended; `kept` has what was done.
    """
    source = bundled_checkpoint() if path is None else locate(path)
    threads = None if map is None else 1
    file = WeightsFile.at(source, kernels=kernels, threads=threads, same_bits=False)
    with load(source, kernels=kernels, arithmetic="float32") as llama:
        texts = texts_for(llama, text_file)
        stored = _types_of(llama)
    wanted: list[TypeName | None] = [None, *(name for name in types if (name,) != stored)]
    pieces = [_TypePiece(file, texts, name, f"as stored: {', '.join(stored)}") for name in wanted]
    done = collected(_costs_of, pieces, map, progress)
    found = ArithmeticCosts(
        source.name, texts.source, texts.n_scored, kernels,
        tuple(cost for costs in done.results if not isinstance(costs, str) for cost in costs),
        tuple(sentence for sentence in done.results if isinstance(sentence, str)),
        done.cut_short,
    )  # fmt: skip
    done.raise_with(found)
    return found


@dataclass(frozen=True)
class _TypePiece:
    """One type of weights: None as the file has them, which the table calls `stored`."""

    file: WeightsFile
    texts: Texts
    type: TypeName | None
    stored: str


def _costs_of(piece: _TypePiece) -> list[Cost] | str:
    """Convert and score; a sentence where a type cannot be had."""
    piece.file.check_same()
    source, name = Path(piece.file.path), piece.type
    run = _Run(piece.texts, piece.file.kernels, piece.file.threads)
    try:
        with nullcontext(source) if name is None else _converted(source, name) as file:
            return run.costs(file, name or piece.stored)
    except (FormatError, RequestError) as error:
        return f"left out: {error}"


def _types_of(llama: Llama) -> tuple[str, ...]:
    """Of the matrices, each once."""
    tensors = llama.checkpoint.tensors.values()
    return tuple(dict.fromkeys(tensor.type for tensor in tensors if len(tensor.shape) == 2))


@contextmanager
def _converted(source: Path, name: TypeName) -> Iterator[Path]:
    """The file with matrices of this type; blocks that are quantized already are rounded again."""
    with tempfile.TemporaryDirectory(prefix="llama_edu_") as folder:
        file = Path(folder) / f"{name}.gguf"
        convert(source, file, to="gguf", type=name, allow_requantize=True)
        yield file


class _Run:
    """The texts, and what they are scored with."""

    def __init__(self, texts: Texts, kernels: Kernels, threads: int | None) -> None:
        self.texts, self.kernels, self.threads = texts, kernels, threads

    def costs(self, file: Path, weights: str) -> list[Cost]:
        """Of each arithmetic but float32 that is defined for the file."""
        with load(file, kernels=self.kernels, threads=self.threads, arithmetic="float32") as exact:
            kept: list[np.ndarray] = []
            base = self._nats(exact, lambda logits: kept.append(logits.copy()))
            texts = self._greedy(exact)
            rounding = _rounding(exact)
        with load(file, kernels=self.kernels, threads=self.threads, arithmetic="auto") as llama:
            auto = llama.arithmetic
        found = []
        for name in rounding:
            with load(file, kernels=self.kernels, threads=self.threads, arithmetic=name) as llama:
                distance = _Distance(iter(kept))
                nats = self._nats(llama, distance.add)
                written = self._greedy(llama)
            found.append(
                Cost(
                    weights, name, auto, float(base.mean()), paired_loss(base, nats),
                    float(np.median(distance.kl)), float(np.mean(distance.kl)),
                    float(np.max(distance.kl)), float(np.mean(distance.same)),
                    distance.largest / distance.scale,
                    tuple((_n_common(a, b), len(a)) for a, b in zip(texts, written, strict=True)),
                )
            )  # fmt: skip
        return found

    def _nats(self, llama: Llama, see: Callable[[np.ndarray], object]) -> np.ndarray:
        """Of the texts; `see` is shown the logits of each chunk."""

        def tap(name: str, x: np.ndarray) -> np.ndarray:
            if name == "logits":
                see(x)
            return x

        return token_nats(llama.model, self.texts.scored, tap=tap)

    def _greedy(self, llama: Llama) -> list[list[int]]:
        """What the model writes after the first tokens of some of the texts."""
        written = []
        for text in self.texts.scored[:N_PROMPTS]:
            prompt = text[:PROMPT_TOKENS]
            written.append([t.id for t in llama.generate_tokens(prompt, GREEDY_TOKENS, GREEDY)])
        return written


def _rounding(llama: Llama) -> list[Arithmetic]:
    """int8, and int4 for the types that it was made for.

    Raises:
        RequestError: a matrix is of a type that int8 is not defined for.
    """
    weights = list(llama.weights.values())
    check_arithmetic("int8", weights)
    names: list[Arithmetic] = ["int8"]
    if {"q4_0", "q4_1"} & {*_types_of(llama)}:
        with suppress(RequestError):  # beside a type that there was not at that time
            check_arithmetic("int4", weights)
            names.append("int4")
    return names


class _Distance:
    """How far the logits of one arithmetic are from those of float32, chunk by chunk.

    Attributes:
        kl, same: of each position. largest: difference of a logit. scale: the largest logit.
    """

    def __init__(self, exact: Iterator[np.ndarray]) -> None:
        self._exact = exact
        self.kl: list[float] = []
        self.same: list[bool] = []
        self.largest = self.scale = 0.0

    def add(self, logits: np.ndarray) -> None:
        """Compare (T, vocab_size) float32 with the next chunk of float32's."""
        exact = next(self._exact)
        self.largest = float(np.maximum(self.largest, np.abs(logits - exact).max()))  # keeps NaN
        self.scale = float(np.maximum(self.scale, np.abs(exact).max()))
        nats, same = divergence(exact, logits)
        self.kl += nats.tolist()
        self.same += same.tolist()


def _n_common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts have in common until the first that differs."""
    different = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(different, min(len(a), len(b)))
