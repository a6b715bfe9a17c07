"""One position as one compiled call, for models that it can be compiled for: see matmul/jit/token/.

forward() is its definition. A tap, a log of what is read, or a weight of a type without a compiled
loop need forward() itself.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from llama_edu.config import output_name
from llama_edu.errors import NumericalError
from llama_edu.matmul.jit.product import TYPES, fill
from llama_edu.matmul.jit.token import places as at
from llama_edu.matmul.jit.token.tables import Tables, matrix_row
from llama_edu.matmul.jit.token.team import Team
from llama_edu.matmul.jit.token.team import compile_ahead as compile_functions_ahead
from llama_edu.quants.blocks import block_type_of, dequantize, dequantize_into
from llama_edu.transformer import kernels
from llama_edu.transformer.access_log import NO_LOG
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import Model, check_tokens, forward

#: Positions whose rotations are computed together.
_TOGETHER = 64


#: What of a Model it takes the place of.
_OF_A_MODEL = ("config", "weights", "frequencies", "matmul", "functions", "log")


class CompiledToken:
    """forward() for one token of one model, with its weights' addresses.

    Args:
        model: whose file stays open. tables: from `tables_of`.
    """

    def __init__(self, model: Model, tables: Tables) -> None:
        self._model, self._tables = model, tables
        self._teams: list[Team] = []
        table = model.weights["token_embedding"]
        block = block_type_of(table)
        is_plain = type(table) is np.ndarray and table.flags.c_contiguous and table.dtype.isnative
        has_loop = block.name in TYPES and is_plain
        self._embed = partial(fill, block) if has_loop else dequantize_into
        self._rotations = (0, np.empty((0, 0), np.complex64))  # first position, and from it on

    def computes(self, model: Model) -> bool:
        """Whether it computes this model: nothing of it was replaced since."""
        own = self._model
        return all(getattr(model, field) is getattr(own, field) for field in _OF_A_MODEL)

    def __call__(self, token: int, cache: KVCache) -> np.ndarray:
        """Read one token after those in the cache, and score what may follow.

        Returns:
            (vocab_size,) float32 logits, a new array.
        Raises:
            RequestError: an unknown id, a full cache, or a closed model.
            NumericalError: as forward() raises it.
        """
        model = self._model
        check_tokens([token], model.config)
        cache.check_room(1)
        table = model.weights["token_embedding"]  # fails if the model is closed
        rotations = self._rotations_at(cache.length)
        logits = np.empty(model.config.vocab_size, np.float32)
        team = self._free_team()
        try:
            self._embed(table[token : token + 1], team.x)
            done = team.compute(rotations, cache.keys, cache.values, cache.length, logits)
        finally:
            team.leave()
        if not done:
            forward(model, [token], cache)
            raise NumericalError(f"token {token}: the scores of a router are not finite")
        cache.length += 1
        return logits

    def _rotations_at(self, position: int) -> np.ndarray:
        """RoPE's rotations; those of the next positions are computed with them."""
        first, rotations = self._rotations
        if not first <= position < first + len(rotations):
            positions = np.arange(position, position + _TOGETHER)
            first, rotations = position, kernels.rope_rotations(positions, self._model.frequencies)
            self._rotations = first, rotations
        return rotations[position - first]

    def _free_team(self) -> Team:
        """A team that this thread has entered; a forked child cannot use those of its parent."""
        own = [team for team in self._teams if team.is_of_this_process]
        for team in own:
            if team.try_to_enter():
                return team
        team = Team(self._tables, 1 if own else self._model.threads)
        team.try_to_enter()  # before another thread can find it
        self._teams.append(team)
        return team


def compile_ahead(model: Model, arithmetic: str) -> None:
    """Let another process compile what single tokens need, if it is not on disk; see team.py."""
    if _is_possible(model, arithmetic):
        compile_functions_ahead(model.config.n_experts > 0)


def one_token_of(model: Model, arithmetic: str) -> CompiledToken | None:
    """What computes single tokens of this model; None if forward() must."""
    tables = tables_of(model, arithmetic)
    return None if tables is None else CompiledToken(model, tables)


def _is_possible(model: Model, arithmetic: str) -> bool:
    return model.log is NO_LOG and arithmetic != "int4"


def tables_of(model: Model, arithmetic: str) -> Tables | None:
    """The model as tables for compiled code; None if it cannot be computed by them.

    Compiles what its weights need, or loads it from disk. Reads no matrix.
    """
    if not _is_possible(model, arithmetic):
        return None
    config = model.config
    rows = [matrix_row(model.weights[name], arithmetic) for name in _matrix_names(model)]
    if None in rows:
        return None
    names = [f"layers.{n}.{norm}" for n in range(config.n_layers)
             for norm in ("attention_norm", "ffn_norm")]  # fmt: skip
    norms = [_as_float32(model.weights[name]) for name in (*names, "final_norm")]
    n_networks = max(1, config.n_experts)
    sizes = np.zeros(at.N_SIZES, np.int64)
    sizes[[at.N_LAYERS, at.DIM, at.HIDDEN_DIM, at.N_HEADS, at.N_KV_HEADS, at.HEAD_DIM]] = (
        config.n_layers, config.dim, config.hidden_dim, config.n_heads, config.n_kv_heads,
        config.head_dim,
    )  # fmt: skip
    sizes[at.HALVES] = config.rope_pairing == "halves"
    sizes[at.RELU] = config.activation == "relu"
    sizes[[at.N_EXPERTS, at.N_USED]] = config.n_experts, config.n_experts_per_token
    sizes[at.EPS_BITS] = np.float32(config.norm_eps).view(np.int32)
    sizes[at.PER_LAYER] = at.GATES + 3 * n_networks + (config.n_experts > 0)
    sizes[at.STEPS_OF_LAYER] = 4 + max(1, config.n_experts_per_token)
    copies = tuple(n for n, name in zip(norms, (*names, "final_norm"), strict=True)
                   if n is not model.weights[name])  # fmt: skip
    return Tables(
        sizes,
        np.array(rows, np.int64),
        np.array([norm.ctypes.data for norm in norms], np.int64),
        copies,
    )


def _matrix_names(model: Model) -> list[str]:
    """The matrices in the order of the tables."""
    config = model.config
    names = []
    for layer in range(config.n_layers):
        networks = [f"experts.{e}." for e in range(config.n_experts)] or [""]
        feed_forward = [f"{n}{w}" for n in networks for w in ("w_gate", "w_up", "w_down")]
        router = ["router"] if config.n_experts else []
        names += [f"layers.{layer}.{n}" for n in ("wq", "wk", "wv", "wo", *router, *feed_forward)]
    return [*names, output_name(model.weights)]


def _as_float32(weight: np.ndarray) -> np.ndarray:
    is_usable = weight.dtype == np.float32 and weight.dtype.isnative and weight.flags.aligned
    return weight if is_usable and weight.flags.c_contiguous else dequantize(weight)
