"""llama2.c's .bin format, versions 0 to 2."""
