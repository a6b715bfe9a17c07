"""ggml, ggmf and ggjt: llama.cpp's file formats from March to August 2023."""
