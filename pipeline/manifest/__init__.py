"""The manifest: inputs to rows, and rows grouped by image."""
