"""Stored tensors that are not one weight: cut over several files, or many in one tensor."""
