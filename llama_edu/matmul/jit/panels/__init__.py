"""Many positions at once in compiled code: prompts.

Positions lie side by side, so that each lane of a vector belongs to one of them. Then weights need
no other order than that of the file, norms and softmax need no sums across lanes, and four rows at
a time keep their sums in registers.

| module | what is in it |
|---|---|
| host.py | positions that this processor keeps in registers, whether it multiplies bfloat16 |
| lanes.py | vectors of any length as values of compiled code |
| positions.py | panels: positions side by side, rounded or not |
| tiles.py | 16 rows of float32 or bfloat16 times all positions; int8/tiles.py has codes |
| jobs.py | several matrices times the same positions, shared among threads |
| product.py | the products of 16-bit floats, float32, and what becomes float32 |
| steps.py | attention, SwiGLU and RMSNorm |
"""
