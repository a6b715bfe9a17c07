"""The ways to see which pages were touched."""
