"""Measurements of the workers, and the progress display."""
