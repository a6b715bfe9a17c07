"""A text while it is generated, and how it is shown."""
