"""Figures of notebook 04 that show single pages: what a fault maps, and what each layer needs."""
