"""x @ w.T for weights as they are stored: one product, several implementations.

All implementations give the same result, and none makes a float32 copy of a whole matrix:

| implementation | for | how |
|---|---|---|
| product.py | any type, any number of positions, numpy | chooses among the next three |
| BLAS itself | float32 in native byte order | reads the matrix in place |
| one_position.py | one position (decode), numpy | sums codes per group, then scales |
| tiles.py | several positions (prefill) | rows become float32 a tile at a time, then BLAS |
| jit/ | few positions of stored types with compiled loops (numba) | reads blocks in place |
| jit/panels/ | several positions of these types and float32 (numba) | positions side by side |

Two more give the product of rounded x, as `arithmetic="int8"` asks for it:

| implementation | for | how |
|---|---|---|
| arithmetic.py | any of the above | rounds x first, then multiplies in float32 |
| jit/int8/ | quantized types, processors with 8-bit instructions (numba) | multiplies integers |
| jit/panels/ | several positions, f16 and bf16 (numba) | rounds x, multiplies bf16 as it is |

`choose` selects the numpy or the compiled implementation, and the arithmetic where it is left open:
"auto" is int8 where compiled loops are faster with it (auto.py), so what a file computes depends on
the machine; "float32" is the same everywhere. `matmul_for` is `choose` for those who need the
function alone. cores.py says how many cores may be used, threads.py shares work among them;
workspace.py and heap.py keep memory for the next product.
"""

from llama_edu.matmul.choice import KERNELS, Kernels, check_kernels, choose, matmul_for
from llama_edu.matmul.product import Matmul, matmul

__all__ = ["KERNELS", "Kernels", "Matmul", "check_kernels", "choose", "matmul", "matmul_for"]
