"""Stored number types as numpy dtypes: to float32 and back."""
