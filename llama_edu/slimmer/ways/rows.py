"""Each way on each model: the rows of the table, as they are measured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from llama_edu.errors import RequestError
from llama_edu.quality.losses import token_nats
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.slimmer.ways.cost import cost
from llama_edu.slimmer.ways.float32 import in_float32
from llama_edu.slimmer.ways.inputs_cut import InputsCut, thresholds
from llama_edu.slimmer.ways.layers import Choice, greedy_choices, renumbered, without_layers
from llama_edu.slimmer.ways.low_rank import low_rank, low_rank_feed_forward
from llama_edu.slimmer.ways.matrix_inputs import inputs_on
from llama_edu.slimmer.ways.measured import Measured, Row
from llama_edu.slimmer.ways.pruning import pruned
from llama_edu.slimmer.ways.stored_types import TYPES, in_type, own_types, why_not
from llama_edu.slimmer.ways.vocabulary import with_vocabulary

#: Called with the number of tokens after each pass of a changed model.
Step = Callable[[int], object]

PRUNED_SHARE = 0.5
LAYERS_LEFT_OUT = 3
RANK_SHARES = (0.9, 0.75)
INPUT_SHARES = (0.25, 0.4, 0.5)

#: A vocabulary of fewer ids has nothing to leave out: bytes and special pieces are 259 of them.
FEWEST_IDS = 4096

#: How many first ids are kept, at most two thirds of all: those of the earliest merges.
FIRST_IDS = 32768

#: The kind of a row that is no way to make a model smaller, but looks like one.
TRAP = "vocabulary, a trap"

#: By so many tokens of the calibration text layers are chosen; each choice tries every layer.
TOKENS_TO_CHOOSE_BY = 250


def types_of(base: Measured) -> dict[str, str]:
    """Type -> "", or why the matrices cannot be stored like this; without the one they have."""
    own = own_types(base.stored)
    return {name: why_not(base.stored, name) for name in TYPES if own != {name}}


def type_rows(base: Measured, step: Step) -> Iterator[Row]:
    """The matrices in every type that we can write, from many bits to few."""
    rounded = any(BLOCK_TYPES[name].is_quantized for name in own_types(base.stored))
    types = types_of(base)
    for name in (name for name, reason in types.items() if not reason):
        changed = in_type(base.stored, name)
        nats = token_nats(in_float32(changed), base.texts.scored)
        twice = rounded and BLOCK_TYPES[name].is_quantized
        step(len(base.nats))
        yield base.row("stored type", name, base.cost_as_file(changed), nats,
                       "rounded twice" if twice else "")  # fmt: skip
    for reason in sorted({*types.values()} - {""}):
        names = [name for name in types if types[name] == reason]
        yield Row("stored type", " ".join(names), note=reason)


def pruning_rows(base: Measured, step: Step) -> Iterator[Row]:
    """Half of the weights zeroed by size, and by Wanda; the ledger says whether a page is saved."""
    norms = inputs_on(base.model, base.texts.calibration).norms
    for label, by in (("by size", None), ("by Wanda", norms)):
        changed = pruned(base.model, PRUNED_SHARE, by)
        nats = token_nats(changed, base.texts.scored)
        found = cost(changed, base.tensors, base.token)
        same = bool((found.pages == base.cost.pages).all())
        step(len(base.nats))
        note = "no page saved: zeros are stored" if same else "not the same pages"
        yield base.row("pruning", f"half of the weights, {label}", found, nats, note)


def to_choose_by(texts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The first texts that have about TOKENS_TO_CHOOSE_BY tokens together, at least one."""
    chosen: list[Sequence[int]] = []
    for text in texts:
        if sum(map(len, chosen)) >= TOKENS_TO_CHOOSE_BY:
            break
        chosen.append(text)
    return chosen


def layer_rows(
    base: Measured, step: Step, seen: Callable[[Choice], object] = lambda choice: None
) -> Iterator[Row]:
    """One, two and three layers left out, chosen greedily by the calibration text.

    Args:
        seen: called with each choice, the first of which is leave-one-out.
    """
    n_layers = base.model.config.n_layers
    texts = to_choose_by(base.texts.calibration)
    for choice in greedy_choices(base.model, texts, LAYERS_LEFT_OUT, step):
        seen(choice)
        left_out = choice.left_out
        changed = without_layers(base.model, left_out)
        nats = token_nats(changed, base.texts.scored)
        tensors = renumbered(base.tensors, n_layers, left_out)
        found = cost(without_layers(base.stored, left_out), tensors, base.token)
        which = ", ".join(map(str, sorted(left_out)))
        step(len(base.nats))
        yield base.row(
            "layers",
            f"{len(left_out)} layer{'s' if len(left_out) > 1 else ''} left out",
            found,
            nats,
            f"greedy: {which}",
        )


def low_rank_rows(base: Measured, step: Step) -> Iterator[Row]:
    """The feed-forward matrices as products of thin ones."""
    for share in RANK_SHARES:
        label = f"feed-forward in {share:g} of its bytes"
        try:
            changed, rank = low_rank(base.stored, share)
        except RequestError as error:
            yield Row("low rank", label, note=str(error))
            continue
        nats = token_nats(in_float32(changed), base.texts.scored, ffn=low_rank_feed_forward)
        found = base.cost_as_file(changed, low_rank_feed_forward)
        step(len(base.nats))
        yield base.row("low rank", label, found, nats, f"rank {rank}")


def vocabulary_rows(base: Measured, later: Sequence[int], step: Step) -> Iterator[Row]:
    """Fewer ids: those of a text that is not scored, the first ones, and the trap.

    Args:
        later: ids of a text that is not scored.
    """
    n_ids = base.model.config.vocab_size
    if n_ids < FEWEST_IDS:
        yield Row("vocabulary", "fewer ids", note=f"only {n_ids:,} ids, of which bytes need 256")
        return
    scored = base.texts.scored
    tokenizer = base.llama.tokenizer
    characters = sum(len(tokenizer.decode(text[1:])) for text in scored)
    choices: list[tuple[str, str, Collection[int]]] = [
        ("vocabulary", "first ids alone", range(min(FIRST_IDS, 2 * n_ids // 3))),
        ("vocabulary", "ids of a text not scored", later),
        (TRAP, "ids of the scored text", [token for text in scored for token in text]),
    ]
    before = base.nats.sum() / characters
    for kind, label, ids in choices:
        smaller = with_vocabulary(base.model, tokenizer, ids, scored)
        try:
            nats = smaller.token_nats(scored)
        except RequestError as error:  # a text that no longer fits the context
            yield Row(kind, label, note=str(error))
            continue
        stored = with_vocabulary(base.stored, tokenizer, ids, scored).model
        found = base.cost_as_file(stored, token=smaller.spelled([base.token])[0])
        note = (f"{len(smaller.ids):,} ids; nats per character {before:.3f} to "
                f"{nats.sum() / characters:.3f}")  # fmt: skip
        step(len(base.nats))
        yield base.row(kind, label, found, nats, note)


def input_rows(base: Measured, step: Step) -> Iterator[Row]:
    """The smallest inputs of the layers' matrices cut: bytes of columns, and no pages."""
    sizes = inputs_on(base.model, base.texts.calibration).sizes
    for share in INPUT_SHARES:
        tap = InputsCut(thresholds(sizes, share))
        nats = token_nats(base.model, base.texts.scored, tap=tap)
        step(len(base.nats))
        yield base.row("inputs cut", f"{share:.0%} of the inputs", None, nats,
                       "bytes, not pages: columns lie on all of them",
                       tap.bytes_left_out(base.stored))  # fmt: skip
