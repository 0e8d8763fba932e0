"""Benchmarks. Each module is a command whose last line of output is JSON; results are in docs/benchmarks.md."""
