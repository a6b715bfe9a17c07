"""Means of observing that several experiments and the page map use; none is an experiment."""
