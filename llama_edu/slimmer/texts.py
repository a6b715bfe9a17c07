"""Two texts for a model: one from which thresholds are learned, and another one that is scored.

They are never the same text: a threshold that fits what it is judged by flatters itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import RequestError
from llama_edu.llama import Llama
from llama_edu.text import one_line
from llama_edu.tokenizer.text_file import read_text_file

#: Twelve stories of the grammar that the bundled model was trained on, none of them in its training
#: text: tools/make_corpus.py --n-train 0 --n-held-out 12. An empty line separates two stories.
_STORIES = Path(__file__).with_name("held_out_stories.txt")


@dataclass(frozen=True)
class Texts:
    """Two texts as ids, cut into pieces that a model reads apart from each other.

    Attributes:
        calibration, scored: lists of ids, each with the model's own start (BOS, where it puts one)
            and no longer than its context.
        source: where they are from, and what of it was left out, in words; it commands no terminal.
    """

    calibration: list[list[int]]
    scored: list[list[int]]
    source: str

    @property
    def n_scored(self) -> int:
        """How many tokens are scored: the first of each piece is not."""
        return sum(len(piece) - 1 for piece in self.scored)


def texts_for(
    llama: Llama, path: str | Path | None = None, *, n_windows: int = 4, context: int = 256
) -> Texts:
    """The text to score and the one to calibrate with, of a file or of the held-out stories.

    Args:
        path: a UTF-8 text. Its first `n_windows` windows are scored, the next `n_windows` are the
            calibration; where it is shorter, each gets a half. None: six held-out stories each,
            which come with the package and suit the bundled model alone.
        context: positions of a window, BOS included; at most those of the model.
    Raises:
        RequestError: the text cannot be read or is too short, or the model has no vocabulary.
    """
    return _stories(llama) if path is None else _windows(llama, path, n_windows, context)


def _stories(llama: Llama) -> Texts:
    """As in training: each story by itself, BOS in front and EOS behind, where there is a BOS."""
    tokenizer, longest = llama.tokenizer, llama.config.max_seq_len
    stories = _STORIES.read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    end = [tokenizer.eos_id] if tokenizer.adds_bos and tokenizer.eos_id >= 0 else []
    pieces = [[*tokenizer.encode(story), *end] for story in stories]
    source = (
        f"{len(pieces) // 2} stories that come with this package, of the kind that the bundled "
        f"model was trained on and held out from its training"
    )
    if any(len(piece) > longest for piece in pieces):
        source += f", each cut to the model's context of {longest:,} tokens"
    pieces = [piece[:longest] for piece in pieces]
    half = len(pieces) // 2
    return Texts(pieces[half:], pieces[:half], source)


def _windows(llama: Llama, path: str | Path, n_windows: int, context: int) -> Texts:
    tokenizer = llama.tokenizer
    ids = tokenizer.encode(read_text_file(path), bos=False)
    start = [tokenizer.bos_id] if tokenizer.adds_bos else []
    size = min(context, llama.config.max_seq_len) - len(start)
    used = min(len(ids) // 2, n_windows * size)
    parts = [
        [[*start, *part[first : first + size]] for first in range(0, len(part), size)]
        for part in (ids[:used], ids[used : 2 * used])
    ]
    # a piece of one id, at the end of a text, is context without anything to score
    scored, calibration = ([piece for piece in part if len(piece) > 1] for part in parts)
    if min(sum(len(piece) - 1 for piece in part) for part in (scored, calibration)) < 2:
        raise RequestError(
            f"{path}: {len(ids)} token{'s' * (len(ids) != 1)}, expected at least "
            f"{2 * (3 - len(start))}: one half is scored, the other is the calibration; give a "
            f"longer text"
        )
    source = f"{one_line(Path(path).name)}: tokens 1 to {used:,} of {len(ids):,}"
    return Texts(calibration, scored, f"{source} (calibration: the {used:,} after them)")
