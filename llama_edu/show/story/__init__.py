"""A text as it is written, and how it is shown."""
