"""Figures of notebook 03: attention, what layers would say, RoPE's turning, what a cache saves."""
