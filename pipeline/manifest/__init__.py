"""Reading the manifest, and grouping its rows by image."""
