"""ggml, ggmf and ggjt: the files of llama.cpp from March to August 2023."""
