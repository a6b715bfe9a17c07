"""Reports as plain text, for terminals."""
