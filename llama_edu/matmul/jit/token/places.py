"""Where everything stands in the tables of int64 that compiled code reads.

`sizes` and `matrices` describe a model and do not change; `control` is what threads tell each
other. A matrix of layer n stands in row n * PER_LAYER + WQ and so on, the output in the last row.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Run(NamedTuple):
    """What every step of a token needs.

    Attributes:
        sizes, matrices, norms, eps: the model; norms are addresses: two for each layer, the last.
        control: (n,) int64 that all threads share. shared: addresses of buffers that they share.
        private: addresses of the buffers of this thread. token: the number of the token.
    """

    sizes: Any
    matrices: Any
    norms: Any
    eps: Any
    control: Any
    shared: Any
    private: Any
    token: Any


#: sizes
N_LAYERS, DIM, HIDDEN_DIM, N_HEADS, N_KV_HEADS, HEAD_DIM, HALVES, RELU = range(8)
N_EXPERTS, N_USED, PER_LAYER, STEPS_OF_LAYER, THREADS, N_SIZES = range(8, 14)

#: matrices, rows of a layer: of a model without experts, and what follows a router with them
WQ, WK, WV, WO, GATE, UP, DOWN = range(7)
ROUTER, FIRST_EXPERT = 4, 5
#: matrices, columns
ADDRESS, ROW_BYTES, COLUMNS, ROWS, KERNEL, KIND, FORM, FORM_BYTES, N_COLUMNS = range(9)

#: KIND: what the kernel takes x as, a place in few.FORMS, of which the first is float32 itself;
#: FORM is the function that makes it of float32, FORM_BYTES long
PLAIN, N_KINDS = 0, 7

#: control: the number of the token, and what belongs to it
TOKEN, WANTED, INPUT, ROTATIONS, KEYS, VALUES, CAPACITY, POSITION, LOGITS = range(9)
#: control: addresses of sched_yield and usleep, or 0; how often a thread waited long; whether a
#: router could not choose
YIELD, SLEEP, LONG_WAITS, NOT_FINITE = range(9, 13)
#: control: words of each helper: whether it is in compiled code
FIRST_HELPER, MOST_HELPERS = 16, 240
#: control: of each step, pieces taken and pieces done, each on a cache line of its own
FIRST_STEP, STEP_WORDS, DONE = 256, 16, 8
#: shared: buffers of float32; CHOSEN are int64, the experts, and SHARES by how much each counts
X, Q, K, V, MIXED, ACTIVATED, CHOSEN, SHARES, N_SHARED = range(9)

#: private: int64 marks of the x that is ready, by kind; x after a norm; x by kind; two buffers for
#: the rows of a piece; scores of one head; probabilities of all experts
READY, NORMED, BY_KIND = 0, 1, 2
ROWS_A, ROWS_B, SCORES, PROBABILITIES, N_PRIVATE = range(2 + N_KINDS, 7 + N_KINDS)
