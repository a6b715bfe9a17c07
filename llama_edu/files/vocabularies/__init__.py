"""Files that hold a vocabulary but no weights."""
