"""Figures of what could be left out: unions over tokens, and neurons against pages."""
