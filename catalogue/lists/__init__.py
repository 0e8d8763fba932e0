"""Image lists: folders, globs, text, CSV, TSV, JSON Lines and Parquet files to records."""
