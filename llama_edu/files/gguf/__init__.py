"""GGUF, llama.cpp's format since August 2023."""
