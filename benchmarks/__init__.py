"""Benchmarks: commands whose last line of output is JSON, and their helpers. Results are in docs/benchmarks.md."""
