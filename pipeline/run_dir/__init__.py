"""The run directory: rows, statistics, report, lock and commit."""
