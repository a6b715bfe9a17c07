"""Other programs that compute the same model step by step; each needs a package of its own."""
