"""Speed, loading, memory and conversion, compared with peers; see `python -m benchmarks -h`."""
