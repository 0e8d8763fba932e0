"""Measurements of workers, and the progress display."""
