"""Measured claims, one per file: each a function that measures and a record that prints itself.

What several of them share: `token_steps`, `plain_faults`, `subjects`, `control_group`.
"""
