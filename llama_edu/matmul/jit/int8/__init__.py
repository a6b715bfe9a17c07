"""x @ w.T with activations of 8 bits, by the instructions that processors have for it.

matmul/arithmetic.py says what is computed, and how x is rounded; here the products of codes are
added up as integers, four at a time, which is exact and faster than float32.

| module | what is in it |
|---|---|
| instructions.py | which instructions the processor has, and how LLVM is asked for them |
| vectors.py lanes.py | short vectors as values of compiled code; what can be done with them |
| rounding.py | x as codes of 8 bits, scales and sums |
| blocks.py blocks_k.py | the codes of each stored type as vectors |
| rows.py rows_k.py | decode: each row of blocks times x, in place |
| unpack.py unpack_k.py | prefill: rows as bytes and scales |
| tiles.py | prefill: 16 rows times all positions, which lie side by side (jit/panels/) |
| product.py | the product, which chooses among these |
"""
