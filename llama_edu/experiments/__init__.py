"""Measured claims, one per file: each a function that measures and a record that prints itself."""
