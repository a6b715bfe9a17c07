"""The .bin files of llama2.c, versions 0 to 2."""
