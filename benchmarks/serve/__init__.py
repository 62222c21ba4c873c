"""Duet beside other ways to serve the same graph: `python -m benchmarks.serve --help`."""
