"""Image lists: reads folders, globs, text, CSV, TSV, JSON Lines and Parquet files as records."""
