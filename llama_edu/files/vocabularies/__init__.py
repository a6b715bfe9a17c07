"""Files that hold a vocabulary and no weights."""
