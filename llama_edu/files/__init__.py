"""Bytes on disk: which format is this, where does each tensor lie, and views on it.

Start with `layout` (what a file is to the rest of the program), then `mapped` (views on an open
file), then `detect` (which reader gets it), then one format: `llama2c` is the smallest.
"""
