"""x @ w.T compiled by numba; needs the extra `jit`."""
