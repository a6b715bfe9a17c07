"""Bytes on disk: which format is this, where does each tensor lie, and views on it.

Start with `layout` (what a file is to the rest of the program), then `mapped`, then one format.
"""
