"""Measured claims, one per file: each a function that measures and a record that prints itself.

`token_steps`, `plain_faults`, `subjects` and `control_group` are not experiments: experiments and
the page map use them.
"""
