"""Panels of a notebook, made of ipywidgets."""
