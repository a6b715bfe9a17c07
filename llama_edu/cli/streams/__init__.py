"""What commands write to: standard output that reports its errors, and a bar on stderr."""
