"""Arrays to text: the mathematics of a LLaMA on numpy arrays, wherever they came from.

Start with `kernels`, then `model.forward`, which reads like the paper.
"""
