"""Reads the inputs that name images: folders, globs, and text, CSV, TSV, JSON Lines and Parquet files."""
