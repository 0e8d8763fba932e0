"""Measurements. Each module is a command that prints one JSON line last; results stand in README.md."""
