"""Benchmarks beside other ways to compute on arrays; `python -m suite --help`."""
