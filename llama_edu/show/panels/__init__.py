"""Panels for notebooks, made of ipywidgets."""
