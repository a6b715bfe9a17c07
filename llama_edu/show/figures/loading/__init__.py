"""Figures of what a file costs that is mapped or read: time, memory, and what a limit does."""
