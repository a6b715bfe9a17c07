"""Fast siblings of forward() and of kernels.py, compiled by numba; need the extra `jit`."""
