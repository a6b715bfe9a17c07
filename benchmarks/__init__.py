"""Speed, loading, memory and conversion, side by side with peers; see `python -m benchmarks -h`."""
