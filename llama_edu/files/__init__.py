"""Bytes on disk: which format a file has, where each tensor is, and views of it.

Start with `layout` (what a file is to the rest of the program), then `mapped` (views of an open
file), then `detect` (which reader is used), then one format: `llama2c` is the smallest.
"""
