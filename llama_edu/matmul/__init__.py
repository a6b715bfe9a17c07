"""x @ w.T for weights as they are stored: the door to the bodies of one product.

All bodies give the same result, with never a float32 copy of a whole matrix:

| body | for | how |
|---|---|---|
| product.py | any type, any number of positions, numpy | chooses among the next three |
| BLAS itself | float32 in native order | reads the matrix in place |
| one_position.py | one position (decode), numpy | sums codes per group, then scales |
| tiles.py | several positions (prefill) | rows become float32 a tile at a time, then BLAS |
| jit/ | stored types with compiled loops (numba) | reads blocks where they lie |

`matmul_for` picks numpy's or the compiled one; threads.py says how many cores may work, heap.py
keeps freed memory for the next layer.
"""

from llama_edu.matmul.choice import KERNELS, Kernels, check_kernels, matmul_for
from llama_edu.matmul.product import Matmul, matmul

__all__ = ["KERNELS", "Kernels", "Matmul", "check_kernels", "matmul", "matmul_for"]
