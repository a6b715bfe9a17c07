"""x @ w.T for weights as they are stored."""
