"""Hugging Face folders and safetensors."""
