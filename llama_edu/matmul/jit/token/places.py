"""Where everything stands in the tables of int64 that compiled code reads.

`team` describes a model and who computes it, and does not change; `control` is what threads tell
each other. A matrix of layer n stands in row n * PER_LAYER + WQ and so on of `matrices`, the output
in the last row.
"""

from __future__ import annotations

#: team: sizes of the model
N_LAYERS, DIM, HIDDEN_DIM, N_HEADS, N_KV_HEADS, HEAD_DIM, HALVES, RELU, EPS_BITS = range(9)
N_EXPERTS, N_USED, PER_LAYER, STEPS_OF_LAYER, N_SIZES = range(9, 14)
#: team: how many threads; addresses of the other tables, of norms two for each layer and the last
THREADS, MATRICES, NORMS, CONTROL, SHARED = range(N_SIZES, 18)
#: team: addresses of functions, of functions.py and steps.py
QUERIES, ATTENTION, ADDED, FEED_FORWARD, LOGITS_OF, NORM, GATE, HEAD = range(18, 26)

#: matrices, rows of a layer: of a model without experts, and what follows a router with them
WQ, WK, WV, WO, GATES, UPS, DOWNS = range(7)
ROUTER, FIRST_EXPERT = 4, 5
#: matrices, columns
ADDRESS, ROW_BYTES, COLUMNS, ROWS, KERNEL, KIND, FORM, FORM_BYTES, N_COLUMNS = range(9)
#: bytes of a row
MATRIX = 8 * N_COLUMNS

#: KIND: what the kernel takes x as, a place in few.FORMS, of which the first is float32 itself;
#: FORM is the function that makes it of float32, FORM_BYTES long
PLAIN, N_KINDS = 0, 7

#: control: the number of the token, and what belongs to it
TOKEN, WANTED, ROTATIONS, KEYS, VALUES, CAPACITY, POSITION, LOGITS = range(8)
#: control: addresses of sched_yield and usleep, or 0; how often a thread waited long; whether a
#: router could not choose
YIELD, SLEEP, LONG_WAITS, NOT_FINITE = range(8, 12)
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
