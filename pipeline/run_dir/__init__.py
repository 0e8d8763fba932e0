"""The run directory: rows, statistics, report, commit."""
